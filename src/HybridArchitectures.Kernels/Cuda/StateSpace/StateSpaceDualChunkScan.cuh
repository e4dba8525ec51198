// The scan of the state-space dual over the chunks of a row, with products of single warps.
#pragma once
#include "StateSpaceDualTiles.cuh"

// What a block of a scan processes.
struct ChunkScanBlock {
    const DualArguments& args;
    // count heads from firstHead on; offset: the first of their channels
    i64 row, group, firstHead, count, offset, valid, segment;
    // chunks: begin to end are those of the segment; begin to last contain tokens; chunkCount is the number of these
    i64 begin, end, last, chunkCount;
    // r and q: row and column of the lane in a product; headOfBlock: the head of this warp in the block; channel: its first channel in the head
    int warp, lane, r, q, headOfBlock, channel;

    __device__ __forceinline__ explicit ChunkScanBlock(const DualArguments& arguments) : args(arguments) {
        const i64 perGroup = args.heads / args.groups, headBlocks = (perGroup + Heads - 1) / Heads;
        i64 block = blockIdx.x;
        offset = block % Slices * Slice;
        block /= Slices;
        group = block / headBlocks;
        firstHead = group * perGroup + block % headBlocks * Heads;
        count = (group + 1) * perGroup - firstHead;
        if (count > Heads) count = Heads;
        row = args.firstRow + blockIdx.y;
        segment = blockIdx.z;
        valid = args.length;
        if (args.lengths && args.lengths[row] < valid) valid = args.lengths[row];
        const i64 filled = (valid + Q - 1) / Q;
        begin = segment * args.chunksPerSegment;
        end = begin + args.chunksPerSegment;
        if (end > args.chunks) end = args.chunks;
        last = end < filled ? end : filled;
        chunkCount = last > begin ? last - begin : 0;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        headOfBlock = warp / HeadWarps;
        channel = static_cast<int>(offset) + warp % HeadWarps * Rows;
    }

    // Returns the head of this warp in the incoming or outgoing state, of the whole row or of each segment.
    __device__ __forceinline__ i64 state_at(
        i64 segments) const { return ((row * segments + (segments > 1 ? segment : 0)) * args.heads + firstHead + headOfBlock) * P * N; }

    // Writes zeros to padding after the last chunk of the scan.
    __device__ __forceinline__ void clear_pads() const {
        const i64 from = (last > begin ? last : begin) * Q, to = end * Q < args.length ? end * Q : args.length;
        for (i64 i = threadIdx.x; i < (to - from) * Channels; i += Threads) {
            const i64 t = from + i / Channels, head = i % Channels / Slice, p = offset + i % Slice;
            if (head < count && p < P)
                static_cast<Element*>(args.output)[row * args.outputRow + t * args.outputToken + (firstHead + head) * P + p] = from_float<Element>(0);
        }
    }
};

template <bool Reverse, bool Output> struct ChunkScan : ChunkScanBlock {
    using ChannelsTile = Tile<Q, Channels>;
    using StatesTile = Tile<Q, NPad>;
    using Square = Tile<Q, Q>;
    static constexpr int Numbers = Heads * Q, Arrays = Planes > 1 ? 3 : 2, Span = Q < SSD_SPAN ? Q : SSD_SPAN;

    u16 *xTile, *bTile, *cTile, *squares;
    Place xPlace, bPlace, cPlace, squarePlace;
    // (Stages, Arrays, Heads, Q): time steps, sums, what rounding removed; (Heads, Q) twice: see weigh
    float *numbers, *before, *after;
    int* begins;

    __device__ __forceinline__ explicit ChunkScan(const DualArguments& arguments) : ChunkScanBlock(arguments) {
        DYNAMIC_SHARED(u16, shared);
        xTile = shared;
        bTile = xTile + Stages * ChannelsTile::Size;
        cTile = bTile + Stages * StatesTile::Size;
        squares = cTile + (Output ? StatesTile::Size : 0);
        numbers = reinterpret_cast<float*>(squares + (Output ? Heads * Square::Size : 0));
        before = numbers + Stages * Arrays * Numbers;
        after = before + Numbers;
        begins = reinterpret_cast<int*>(after + Numbers);
        xPlace = place_of(xTile);
        bPlace = place_of(bTile);
        cPlace = place_of(cTile);
        squarePlace = place_of(squares);
    }

    __device__ __forceinline__ i64 chunk_of(i64 i) const { return Reverse ? last - 1 - i : begin + i; }

    __device__ __forceinline__ bool holds(int p, int n) const { return headOfBlock < count && p < P && n < N; }

    // Calls action with (tile, register, p, n) for each existing number of the state in this thread.
    template <class Each> __device__ __forceinline__ void each(Each&& action) const {
#pragma unroll
        for (int m = 0; m < MTiles; m++)
#pragma unroll
            for (int n = 0; n < NPad / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int p = channel + 16 * m + r + e / 2 * 8, state = 8 * n + 2 * q + e % 2;
                    if (holds(p, state)) action(m, n, e, p * N + state);
                }
    }

    __device__ __forceinline__ void load_ahead(i64 chunk, int stage_) const {
        const i64 begin = chunk * Q;
        const Element* in = static_cast<const Element*>(args.x) + row * args.xRow + begin * args.xToken + firstHead * P + offset;
        if constexpr (P == Slice) stage<ChannelsTile, Q, Channels, Threads>(
            xTile + stage_ * ChannelsTile::Size, in, args.xToken, valid - begin, static_cast<int>(count) * P, args.wide);
        else
            for (int head = 0; head < Heads; head++) {
                const i64 width = head < count ? P - offset < Slice ? P - offset : Slice : 0;
                stage<ChannelsTile, Q, Slice, Threads>(xTile + stage_ * ChannelsTile::Size + head * Slice, in + head * P, args.xToken, valid - begin,
                    static_cast<int>(width),
                    args.wide);
            }
        stage<StatesTile, Q, NPad, Threads>(bTile + stage_ * StatesTile::Size, static_cast<const Element*>(args.B) + row * args.bRow
            + begin * args.bToken + group * N,
            args.bToken, valid - begin, N, args.wide);
        const float* from = args.dt + ((row * args.heads + firstHead) * args.chunks + chunk) * Q;
        const i64 decaySums = args.decaySums - args.dt, low = args.decaySumsLow - args.dt, next = args.chunks * Q, last = count - 1;
        stage_numbers<Arrays * Heads, Threads>(numbers + stage_ * Arrays * Numbers, threadIdx.x, [=](int i) {
            const int array = i / Heads, head = i % Heads;
            return from + (array == 0 ? 0 : array == 1 ? decaySums : low) + (head < last ? head : last) * next;
        });
        if constexpr (Documents) {
            const float* begins_ = reinterpret_cast<const float*>(args.documentBegins) + (row * args.chunks + chunk) * Q;
            stage_numbers<1, Threads>(reinterpret_cast<float*>(begins + stage_ * Q), threadIdx.x, [=](int) { return begins_; });
        }
    }

    __device__ __forceinline__ void load_c(i64 chunk) const {
        stage<StatesTile, Q, NPad, Threads>(cTile, static_cast<const Element*>(args.C) + row * args.cRow + chunk * Q * args.cToken + group * N,
            args.cToken, valid - chunk * Q, N, args.wide);
    }

    // Returns 2^(sum up to `to` - sum up to `from`).
    __device__ __forceinline__ static float decay(Two to, Two from) {
        float exponent = to.x - from.x;
        if constexpr (Planes > 1) exponent += to.y - from.y;
        return exp2_of<Element>(exponent);
    }

    __device__ __forceinline__ const float* steps_of(int stage_, int head) const { return numbers + (stage_ * Arrays * Heads + head) * Q; }
    __device__ __forceinline__ const float* sums_of(int stage_, int head) const { return numbers + ((stage_ * Arrays + 1) * Heads + head) * Q; }

    __device__ __forceinline__ Two sum_at(int stage_, int head, int t) const {
        const float* sums = sums_of(stage_, head);
        return {sums[t], Planes > 1 ? sums[Numbers + t] : 0.f};
    }

    // Computes for each token the remainder of the previous state at the token, in scan order, and the remainder of the token at the end of the
    // chunk.
    __device__ __forceinline__ void weigh(int stage_) const {
#pragma unroll
        for (int pass = 0; pass < (Numbers + Threads - 1) / Threads; pass++) {
            const int i = pass * Threads + threadIdx.x;
            if (Numbers % Threads && i >= Numbers) continue;
            const int head = i / Q, t = i % Q;
            const Two sum = sum_at(stage_, head, t);
            float from = decay(sum, Two{0, 0}), to = decay(sum_at(stage_, head, Q - 1), sum);
            if constexpr (Documents) {
                if (begins[stage_ * Q + t] >= 0) from = 0;
                if (t < begins[stage_ * Q + Q - 1]) to = 0;
            }
            const float step = steps_of(stage_, head)[t];
            before[i] = Reverse ? to * step : from;
            after[i] = Reverse ? from : to * step;
        }
    }

    // Computes one 16 x 16 block of decayed products for a head: rows are outputs, columns are inputs. D is on the diagonal. In reverse, dt belongs
    // to the rows.
    __device__ __forceinline__ void decayed(int stage_, int head, int to, int from, const float (&products)[2][4], float skip) const {
        const float *sums = sums_of(stage_, head), *dts = steps_of(stage_, head);
        const bool diagonal = to == from;
#pragma unroll
        for (int n = 0; n < 2; n++) {
            const int column = from + 8 * n + 2 * q;
            const Two others = pair_of(sums, column), othersLow = Planes > 1 ? pair_of(sums + Numbers, column) : Two{0, 0},
                factors = Reverse ? Two{1, 1} : pair_of(dts, column);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int line = to + r + 8 * half;
                const Two sum = {sums[line], Planes > 1 ? sums[Numbers + line] : 0.f};
                const float step = Reverse ? dts[line] : 1.f;
                float values[2];
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const Two other = {e ? others.y : others.x, e ? othersLow.y : othersLow.x};
                    values[e] = products[n][2 * half + e] * (Reverse ? decay(other, sum) * step : decay(sum, other) * (e ? factors.y : factors.x));
                    const int t = column + e;
                    if constexpr (Documents) {
                        const int* starts = begins + stage_ * Q;
                        if (Reverse ? line < starts[t] : t < starts[line]) values[e] = 0;
                    }
                    if (diagonal) {
                        if (Reverse ? t < line : t > line) values[e] = 0;
                        if (t == line) values[e] += skip;
                    }
                }
                put<Square>(squares + head * Square::Size, line, column, values[0], values[1]);
            }
        }
    }

    // Computes the decayed products of all pairs of tokens of the chunk.
    __device__ __forceinline__ void square(int stage_, const float (&skips)[Heads]) const {
        constexpr int Group = Blocks < 2 ? Blocks : 2, Groups = Blocks / Group, Pieces = Groups == 2 ? 6 : Blocks;
        // Row and group of each piece, large pieces first, so that warps have about equal work.
        constexpr unsigned RowOf = Blocks == 4 ? 0x021323 : Blocks == 2 ? 0x01 : 0, GroupOf = Blocks == 4 ? 0x010100 : 0;
        const Place b = bPlace + stage_ * StatesTile::Size;
        for (int piece = warp; piece < Pieces; piece += Warps) {
            const int rowOf = RowOf >> 4 * piece & 15, groupOf = GroupOf >> 4 * piece & 15;
            const int block = Reverse ? Blocks - 1 - rowOf : rowOf, start = (Reverse ? Groups - 1 - groupOf : groupOf) * Group;
            float products[Group][2][4] = {};
#pragma unroll
            for (int k = 0; k < KSteps; k++) {
                const Left rows = left<StatesTile, false>(cPlace, 16 * block, 16 * k);
#pragma unroll
                for (int g = 0; g < Group; g++) {
                    if (Reverse ? start + g < block : start + g > block) continue;
                    add_product(products[g][0], products[g][1], rows, right<StatesTile, false>(b, 16 * k, 16 * (start + g)));
                }
            }
#pragma unroll
            for (int head = 0; head < Heads; head++)
#pragma unroll
                for (int g = 0; g < Group; g++) {
                    if (Reverse ? start + g < block : start + g > block) continue;
                    decayed(stage_, head, 16 * block, 16 * (start + g), products[g], skips[head]);
                }
        }
    }

    // Computes the output of tokens start to start + Span - 1.
    __device__ __forceinline__ void output(const float (&state)[MTiles][NPad / 8][4], i64 chunk, int stage_, int start) const {
        constexpr int Wide = Span / 16;
        float sums[MTiles][2 * Wide][4] = {};
        const Place in = xPlace + (stage_ * ChannelsTile::Size + warp * Rows), weights = squarePlace + headOfBlock * Square::Size;
#pragma unroll
        for (int k = 0; k < KSteps; k++) {
            Left states[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) states[m] = as_left(state[m][2 * k], state[m][2 * k + 1]);
#pragma unroll
            for (int w = 0; w < Wide; w++) {
                const Right c = right<StatesTile, false>(cPlace, 16 * k, start + 16 * w);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(sums[m][2 * w], sums[m][2 * w + 1], states[m], c);
            }
        }
#pragma unroll
        for (int n = 0; n < 2 * Wide; n++) {
            const Two decays = pair_of(before, headOfBlock * Q + start + 8 * n + 2 * q);
#pragma unroll
            for (int m = 0; m < MTiles; m++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[m][n][e] *= e % 2 ? decays.y : decays.x;
        }
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            if (Reverse ? 16 * k < start : 16 * k >= start + Span) continue;
            Left inputs[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) inputs[m] = left<ChannelsTile, true>(in, 16 * m, 16 * k);
#pragma unroll
            for (int w = 0; w < Wide; w++) {
                if (Reverse ? 16 * k < start + 16 * w : 16 * k > start + 16 * w) continue;
                const Right factors = right<Square, false>(weights, 16 * k, start + 16 * w);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(sums[m][2 * w], sums[m][2 * w + 1], inputs[m], factors);
            }
        }
        write(sums, chunk * Q + start);
    }

    template <int Count> __device__ __forceinline__ void write(float (&sums)[MTiles][Count][4], i64 begin) const {
        const i64 token = args.outputToken;
        Element* to = static_cast<Element*>(args.output) + row * args.outputRow + begin * token + (firstHead + headOfBlock) * P + channel;
#if !SSD_FLOAT32
        if (args.wide) {
            constexpr int Together = 2 / MTiles;  // blocks of 8 tokens whose pieces form four
            const i64 validTokens = valid - begin, rows = args.length - begin;
            // Pieces 0 and 1 are neighbours, and so are 2 and 3: of 16 channels each, or 8 tokens apart.
            Element* at = to + (r * token + (q % 2 * 8 + q / 2 * 4));
            const i64 step = 8 * token, second = MTiles == 2 ? 16 : step;
            const bool here = headOfBlock < count && channel + q % 2 * 8 < P, there = headOfBlock < count && channel + (MTiles == 2 ? 16 : 0)
                + q % 2 * 8 < P;
#pragma unroll
            for (int n = 0; n < Count; n += Together, at += Together * step) {
                unsigned words[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int m = MTiles == 2 ? i / 2 : 0, block = MTiles == 2 ? n : n + i / 2;
                    words[i] = transpose_block(round_to_bfloat16_pair(sums[m][block][i % 2 * 2], sums[m][block][i % 2 * 2 + 1]));
                }
                gather_halves(words);
                const int t = 8 * n + r, u = t + (MTiles == 2 ? 0 : 8);
                if (t >= validTokens) words[0] = words[1] = 0;
                if (u >= validTokens) words[2] = words[3] = 0;
                if (t < rows && here) *reinterpret_cast<Word<8>*>(at) = {{words[0], words[1]}};
                if (u < rows && there) *reinterpret_cast<Word<8>*>(at + second) = {{words[2], words[3]}};
            }
            return;
        }
#endif
#pragma unroll
        for (int m = 0; m < MTiles; m++)
#pragma unroll
            for (int n = 0; n < Count; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int t = 8 * n + 2 * q + e % 2, p = 16 * m + r + e / 2 * 8;
                    if (begin + t < args.length && headOfBlock < count && channel + p < P)
                        to[t * token + p] = from_float<Element>(begin + t < valid ? sums[m][n][e] : 0.f);
                }
    }

    // Stores the state before the chunk for the pairs kernel.
    __device__ __forceinline__ void save(const float (&state)[MTiles][NPad / 8][4], i64 chunk) const {
        Element* to = static_cast<Element*>(args.states) + (((row - args.firstRow) * args.chunks + chunk) * args.heads + firstHead
            + headOfBlock) * P * N;
#if !SSD_FLOAT32
        if (args.wide && NPad % 32 == 0) {
#pragma unroll
            for (int m = 0; m < MTiles; m++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int p = channel + 16 * m + r + 8 * half;
                    if (headOfBlock >= count || p >= P) continue;
                    Element* at = to + (p * N + (q % 2 * 8 + q / 2 * 4));
#pragma unroll
                    for (int n = 0; n < NPad / 32; n++) {
                        unsigned words[4];
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            words[i] = round_to_bfloat16_pair(state[m][4 * n + i][2 * half], state[m][4 * n + i][2 * half + 1]);
                        gather_halves(words);
                        const int s = 32 * n + q % 2 * 8;
                        if (s < N) *reinterpret_cast<Word<8>*>(at + 32 * n) = {{words[0], words[1]}};
                        if (s + 16 < N) *reinterpret_cast<Word<8>*>(at + 32 * n + 16) = {{words[2], words[3]}};
                    }
                }
            return;
        }
#endif
        each([&](int m, int n, int e, int at) { to[at] = from_float<Element>(state[m][n][e]); });
    }

    __device__ __forceinline__ void update(float (&state)[MTiles][NPad / 8][4], int stage_) const {
        float kept = decay(sum_at(stage_, headOfBlock, Q - 1), Two{0, 0});
        if (Documents && begins[stage_ * Q + Q - 1] >= 0) kept = 0;
        const Place in = xPlace + (stage_ * ChannelsTile::Size + warp * Rows), b = bPlace + stage_ * StatesTile::Size;
#pragma unroll
        for (int m = 0; m < MTiles; m++)
#pragma unroll
            for (int n = 0; n < NPad / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) state[m][n][e] *= kept;
#pragma unroll
        for (int k = 0; k < Blocks; k++) {
            const Two low = pair_of(after, headOfBlock * Q + 16 * k + 2 * q), high = pair_of(after, headOfBlock * Q + 16 * k + 8 + 2 * q);
            const float weights[4] = {low.x, low.y, high.x, high.y};
            Left inputs[MTiles];
#pragma unroll
            for (int m = 0; m < MTiles; m++) {
                const Left plain = left<ChannelsTile, true>(in, 16 * m, 16 * k);
#pragma unroll
                for (int word = 0; word < 4; word++) {
                    const Two input = value(plain, word);
                    unsigned words[Planes];
                    split(input.x * weights[word / 2 * 2], input.y * weights[word / 2 * 2 + 1], words);
#pragma unroll
                    for (int plane = 0; plane < Planes; plane++) inputs[m].words[plane][word] = words[plane];
                }
            }
#pragma unroll
            for (int n = 0; n < KSteps; n++) {
                const Right bRight = right<StatesTile, true>(b, 16 * k, 16 * n);
#pragma unroll
                for (int m = 0; m < MTiles; m++) add_product(state[m][2 * n], state[m][2 * n + 1], inputs[m], bRight);
            }
        }
    }

    __device__ __forceinline__ void run() const {
        float state[MTiles][NPad / 8][4] = {};
        if (args.incoming) {
            const float* from = args.incoming + state_at(args.segments);
            each([&](int m, int n, int e, int at) { state[m][n][e] = from[at]; });
        }
        float skips[Heads];
#pragma unroll
        for (int head = 0; head < Heads; head++) skips[head] = args.D && head < count ? args.D[firstHead + head] : 0.f;
        if (chunkCount > 0) {
            load_ahead(chunk_of(0), 0);
            if constexpr (Output) load_c(chunk_of(0));
            copy_commit();
        }
        for (i64 i = 0; i < chunkCount; i++) {
            const i64 chunk = chunk_of(i);
            const int stage_ = Stages == 2 ? static_cast<int>(i % 2) : 0;
            copy_wait<0>();
            __syncthreads();
            if (Stages == 2 && i + 1 < chunkCount) load_ahead(chunk_of(i + 1), 1 - stage_);
            copy_commit();
            if (args.states) save(state, chunk);
            weigh(stage_);
            if constexpr (Output) {
                square(stage_, skips);
                __syncthreads();
#pragma unroll
                for (int start = 0; start < Q; start += Span) output(state, chunk, stage_, start);
                if (Stages == 2) {
                    __syncthreads();
                    if (i + 1 < chunkCount) load_c(chunk_of(i + 1));
                    copy_commit();
                }
            }
            if constexpr (!Output) __syncthreads();
            update(state, stage_);
            if (Stages == 1 && i + 1 < chunkCount) {
                __syncthreads();
                load_ahead(chunk_of(i + 1), 0);
                if constexpr (Output) load_c(chunk_of(i + 1));
                copy_commit();
            }
        }
        if constexpr (Output) clear_pads();
        if (args.outgoing && (args.outgoingSegments > 1 || segment == (Reverse ? 0 : args.segments - 1))) {
            float* to = args.outgoing + state_at(args.outgoingSegments);
            each([&](int m, int n, int e, int at) { to[at] = state[m][n][e]; });
        }
    }
};
