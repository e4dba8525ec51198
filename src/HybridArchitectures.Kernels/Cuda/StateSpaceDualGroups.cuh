// The walk and the pairs of StateSpaceDual.cu for compute capability 9.0a: four warps own 64 channels of one head and multiply together (wgmma), reading b, c and the decayed pairs straight from
// shared memory, so that registers hold sums alone: the state (64 x N), an output of 64 x 64, and the state as an operand.
// Products run while threads decay pairs, scale and write. A block is two such groups that share what is loaded and nothing else; a chunk has 64 tokens.
#pragma once

// 64 rows of 64 elements into a tile, by Count threads; zeros from row `left_` on
template <int Count> __device__ __forceinline__ void stage_tile(Place tile, const Element* from, i64 stride, int left_) {
    constexpr int Step = Count / 8;
    const int line = threadIdx.x / 8, piece = threadIdx.x % 8;
    const Element* at = from + line * stride + piece * 8;
    const i64 step = Step * stride;
    const Place to = tile + swizzled(line, piece * 8);
#pragma unroll
    for (int pass = 0; pass < 64 / Step; pass++, at += step) copy_async_16(to + pass * Step * 64, at, line + pass * Step < left_);
}

// dynamic shared memory from a multiple of 1024 bytes on
__device__ __forceinline__ u16* tiles_in(u16* shared) {
#ifdef HYBRID_EMULATION
    return shared;
#else
    return shared + (1024 - place_of(shared).address % 1024) % 1024 / 2;
#endif
}

template <bool Reverse, bool Output> struct GroupWalk {
    static constexpr int Parts = N / 64, Groups = SSD_GROUPS, HeadGroups = Slice / 64;   // tiles of 64 states; groups of a head
    static_assert(!Output || Stages == 3, "a chunk, the next one and one on its way");
    static constexpr int InSize = Groups * SwizzledTile, KeySize = Parts * SwizzledTile, StageSize = InSize + (Output ? 2 : 1) * KeySize;

    const DualArguments& a;
    i64 row, projection, first, count, offset, valid, segment;                     // the block's heads: first on, count of them; offset: of their channels
    int warp, lane, r, q, group, own, channel;                                     // own: this group's head in the block; channel: this warp's first in the head
    u16 *stages, *squares;                                                         // squares: this group's two, for a chunk and the next
    Place stagePlace, squarePlace;
    float *numbers, *weights;                                                      // (Stages, 2, Heads, Q): steps and their sums; (2, 2, Q) of this group's: see `weigh`
    int* begins;
    bool active;

    __device__ __forceinline__ explicit GroupWalk(const DualArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(u16, shared);
        stages = tiles_in(shared);
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        group = warp / 4;
        own = group / HeadGroups;
        squares = stages + Stages * StageSize + group * 2 * SwizzledTile;
        numbers = reinterpret_cast<float*>(stages + Stages * StageSize + (Output ? 2 * Groups * SwizzledTile : 0));
        weights = numbers + Stages * 2 * Heads * Q + group * 4 * Q;
        begins = reinterpret_cast<int*>(numbers + Stages * 2 * Heads * Q + Groups * 4 * Q);
        stagePlace = place_of(stages);
        squarePlace = place_of(squares);
        const i64 perGroup = a.heads / a.groups, headBlocks = (perGroup + Heads - 1) / Heads;
        i64 block = blockIdx.x;
        offset = block % Slices * Slice;
        block /= Slices;
        projection = block / headBlocks;
        first = projection * perGroup + block % headBlocks * Heads;
        count = (projection + 1) * perGroup - first;
        if (count > Heads) count = Heads;
        row = a.firstRow + blockIdx.y;
        segment = blockIdx.z;
        valid = a.length;
        if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
        channel = static_cast<int>(offset) + group % HeadGroups * 64 + warp % 4 * 16;
        active = own < count && channel < P;
    }

    __device__ __forceinline__ void load_ahead(i64 chunk, int stage_) const {
        const i64 begin = chunk * Q, rest = valid - begin;
        const int left_ = rest < Q ? static_cast<int>(rest) : Q;
        const Place to = stagePlace + stage_ * StageSize;
        const Element* in = static_cast<const Element*>(a.in) + row * a.inRow + begin * a.inToken + first * P + offset;
#pragma unroll
        for (int g = 0; g < Groups; g++) {
            const int head = g / HeadGroups, p = g % HeadGroups * 64;
            stage_tile<Threads>(to + g * SwizzledTile, in + (head * P + p), a.inToken, head < count && offset + p < P ? left_ : 0);
        }
        const Element* key = static_cast<const Element*>(a.key) + row * a.keyRow + begin * a.keyToken + projection * N;
#pragma unroll
        for (int part = 0; part < Parts; part++) stage_tile<Threads>(to + (InSize + part * SwizzledTile), key + part * 64, a.keyToken, left_);
        if constexpr (Output) {
            const Element* query = static_cast<const Element*>(a.query) + row * a.queryRow + begin * a.queryToken + projection * N;
#pragma unroll
            for (int part = 0; part < Parts; part++) stage_tile<Threads>(to + (InSize + KeySize + part * SwizzledTile), query + part * 64, a.queryToken, left_);
        }
        const float* from = a.delta + ((row * a.heads + first) * a.chunks + chunk) * Q;
        const i64 cum = a.cum - a.delta, next = a.chunks * Q, last = count - 1;
        stage_numbers<2 * Heads, Threads>(numbers + stage_ * 2 * Heads * Q, [=](int i) { return from + (i / Heads ? cum : 0) + (i % Heads < last ? i % Heads : last) * next; });
        if constexpr (Documents) {
            const float* begins_ = reinterpret_cast<const float*>(a.begins) + (row * a.chunks + chunk) * Q;
            stage_numbers<1, Threads>(reinterpret_cast<float*>(begins + stage_ * Q), [=](int) { return begins_; });
        }
    }

    __device__ __forceinline__ const float* steps_of(int stage_) const { return numbers + (stage_ * 2 * Heads + own) * Q; }
    __device__ __forceinline__ const float* sums_of(int stage_) const { return numbers + ((stage_ * 2 + 1) * Heads + own) * Q; }

    __device__ __forceinline__ const float* before_of(i64 i) const { return weights + i % 2 * 2 * Q; }
    __device__ __forceinline__ const float* after_of(i64 i) const { return before_of(i) + Q; }

    // for every token of the i-th chunk what is left there of the state before the chunk, in walking order, and what is left of the token after the chunk
    __device__ __forceinline__ void weigh(int stage_, i64 i) const {
        const int t = threadIdx.x % 128;
        if (t >= Q) return;
        const float* sums = sums_of(stage_);
        float from = exp2_approximate(sums[t]), to = exp2_approximate(sums[Q - 1] - sums[t]);
        if constexpr (Documents) {
            if (begins[stage_ * Q + t] >= 0) from = 0;
            if (t < begins[stage_ * Q + Q - 1]) to = 0;
        }
        const float step = steps_of(stage_)[t];
        weights[i % 2 * 2 * Q + t] = Reverse ? to * step : from;
        weights[i % 2 * 2 * Q + Q + t] = Reverse ? from : to * step;
    }

    // decayed products of this warp's 16 rows, outputs, with one block of 16 tokens they take from
    template <bool Diagonal> __device__ __forceinline__ void decayed(const float (&products)[32], u16* square, int block, int stage_, float skip) const {
        const float *sums = sums_of(stage_), *steps_ = steps_of(stage_);
        const int line = warp % 4 * 16 + r;
#pragma unroll
        for (int n = 2 * block; n < 2 * block + 2; n++) {
            const int column = 8 * n + 2 * q;
            const Two others = pair_of(sums, column), factors = Reverse ? Two{1, 1} : pair_of(steps_, column);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int to = line + 8 * half;
                const float sum = sums[to], factor = Reverse ? steps_[to] : 1.f;
                float values[2];
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const float other = e ? others.y : others.x;
                    values[e] = products[4 * n + 2 * half + e] * (Reverse ? exp2_approximate(other - sum) * factor : exp2_approximate(sum - other) * (e ? factors.y : factors.x));
                    if constexpr (Documents) { if (Reverse ? to < begins[stage_ * Q + column + e] : column + e < begins[stage_ * Q + to]) values[e] = 0; }
                    if constexpr (Diagonal) {
                        // 8 (n - 2 block - half) + 2 q + e - r, of which the first is known here
                        const int apart = 2 * q + e - r + 8 * (n % 2 - half);
                        if (Reverse ? apart < 0 : apart > 0) values[e] = 0;
                        if (n % 2 == half && apart == 0) values[e] += skip;
                    }
                }
                *reinterpret_cast<unsigned*>(square + swizzled(to, column)) = round_to_bfloat16_pair(values[0], values[1]);
            }
        }
    }

    // other places of the tile hold zeros from the start on
    __device__ __forceinline__ void decayed(const float (&products)[32], u16* square, int stage_, float skip) const {
#pragma unroll
        for (int block = 0; block < 4; block++) {
            if (block == warp % 4) decayed<true>(products, square, block, stage_, skip);
            else if (Reverse ? block > warp % 4 : block < warp % 4) decayed<false>(products, square, block, stage_, skip);
        }
    }

    __device__ __forceinline__ void write(const float (&sums)[32], i64 begin) const {
        if (valid - begin >= Q) write<true>(sums, begin); else write<false>(sums, begin);
    }

    template <bool Full> __device__ __forceinline__ void write(const float (&sums)[32], i64 begin) const {
        const i64 token = a.heads * P, step = 8 * token;
        const int left_ = static_cast<int>(valid - begin), rows = static_cast<int>(a.length - begin < Q ? a.length - begin : Q);
        Element* at = static_cast<Element*>(a.out) + ((row * a.length + begin) * a.heads + first + own) * P + channel + (r * token + (q % 2 * 8 + q / 2 * 4));
#pragma unroll
        for (int n = 0; n < 8; n += 2, at += 2 * step) {
            unsigned words[4];
#pragma unroll
            for (int i = 0; i < 4; i++) words[i] = transpose_block(round_to_bfloat16_pair(sums[4 * (n + i / 2) + i % 2 * 2], sums[4 * (n + i / 2) + i % 2 * 2 + 1]));
            gather_halves(words);
            const int t = 8 * n + r;
            if constexpr (!Full) {
                if (t >= left_) words[0] = words[1] = 0;
                if (t + 8 >= left_) words[2] = words[3] = 0;
            }
            if (active && (Full || t < rows)) *reinterpret_cast<Word<8>*>(at) = {{words[0], words[1]}};
            if (active && (Full || t + 8 < rows)) *reinterpret_cast<Word<8>*>(at + step) = {{words[2], words[3]}};
        }
    }

    // the state before the chunk, for the pairs kernel
    __device__ __forceinline__ void save(const unsigned (&operands)[4 * Parts][4], i64 chunk) const {
        if (!active) return;
        Element* to = static_cast<Element*>(a.states) + ((((row - a.firstRow) * a.chunks + chunk) * a.heads + first + own) * P + channel + r) * N + (q % 2 * 8 + q / 2 * 4);
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int k = 0; k < 4 * Parts; k += 2) {
                unsigned words[4] = {operands[k][half], operands[k][half + 2], operands[k + 1][half], operands[k + 1][half + 2]};
                gather_halves(words);
                Element* at = to + (8 * half * N + 16 * k);
                *reinterpret_cast<Word<8>*>(at) = {{words[0], words[1]}};
                *reinterpret_cast<Word<8>*>(at + 16) = {{words[2], words[3]}};
            }
    }

    // calls back with (part, register, place) of every number of the state that this thread holds
    template <class Each> __device__ __forceinline__ void each(Each&& action) const {
        if (!active) return;
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int i = 0; i < 32; i++) action(part, i, (channel + r + i % 4 / 2 * 8) * N + part * 64 + i / 4 * 8 + 2 * q + i % 2);
    }

    // starts query x key of what a stage holds
    __device__ __forceinline__ void multiply(float (&products)[32], int stage_) const {
        const Place key = stagePlace + (stage_ * StageSize + InSize), query = key + KeySize;
        open_products();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++)
            start_product<false>(products, operand(query + k / 4 * SwizzledTile, 0, k % 4 * 16), operand(key + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
        close_products();
    }

    __device__ __forceinline__ void run() const {
        float state[Parts][32] = {};
        if (a.incoming) {
            const float* from = a.incoming + ((row * a.segments + segment) * a.heads + first + own) * P * N;
            each([&](int part, int i, int at) { state[part][i] = from[at]; });
        }
        const float skip = a.skip && own < count ? a.skip[first + own] : 0.f;
        if constexpr (Output)
            for (int i = threadIdx.x % 128; i < SwizzledTile; i += 128) reinterpret_cast<unsigned*>(squares)[i] = 0;
        const i64 filled = (valid + Q - 1) / Q, begin = segment * a.chunksPerSegment;
        i64 end = begin + a.chunksPerSegment;
        if (end > a.chunks) end = a.chunks;
        const i64 last = end < filled ? end : filled, steps_ = last > begin ? last - begin : 0;
        auto chunk_of = [&](i64 i) { return Reverse ? last - 1 - i : begin + i; };
#pragma unroll
        for (int i = 0; i < Stages - 1; i++) {
            if (i < steps_) load_ahead(chunk_of(i), i);
            copy_commit();
        }
        if constexpr (Output) {
            if (steps_ > 0) {
                copy_wait<Stages - 2>();
                publish();
                __syncthreads();
                float products[32];
                multiply(products, 0);
                wait_for_products<0>();
                settle(products);
                weigh(0, 0);
                decayed(products, squares, 0, skip);
            }
        }
        int stage_ = 0, ahead = Stages > 1 ? 1 : 0, next = Stages - 1;
        for (i64 i = 0; i < steps_; i++) {
            const i64 chunk = chunk_of(i);
            copy_wait<Output ? Stages - 3 : Stages - 2>();
            publish();
            __syncthreads();
            if (i + Stages - 1 < steps_) load_ahead(chunk_of(i + Stages - 1), next);
            copy_commit();
            const Place in = stagePlace + (stage_ * StageSize + group * SwizzledTile), key = stagePlace + (stage_ * StageSize + InSize), query = key + KeySize;
            if constexpr (!Output) {
                weigh(stage_, i);
                sync_group(group);
            }
            unsigned operands[4 * Parts][4];                                        // the state, rounded
            if (Output || a.states)
#pragma unroll
                for (int part = 0; part < Parts; part++)
#pragma unroll
                    for (int k = 0; k < 4; k++)
#pragma unroll
                        for (int word = 0; word < 4; word++) {
                            const int at = 4 * (2 * k + word / 2) + word % 2 * 2;
                            operands[4 * part + k][word] = round_to_bfloat16_pair(state[part][at], state[part][at + 1]);
                        }
            // In the order they are started: the state's part of the output, the pairs of the next chunk (of this one again at the end), the new state, the chunk's own part.
            float output[32], products[32];
            if constexpr (Output) {
                open_products();
#pragma unroll
                for (int k = 0; k < 4 * Parts; k++) start_product<false>(output, operands[k], operand(query + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
                close_products();
                multiply(products, i + 1 < steps_ ? ahead : stage_);
            }
            unsigned inputs[4][4], weighted[4][4];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const int line = 16 * k + lane % 8 + lane / 16 * 8;
                load_blocks<true>(inputs[k], in + swizzled(line, warp % 4 * 16 + lane / 8 % 2 * 8));
            }
            float kept = exp2_approximate(sums_of(stage_)[Q - 1]);
            if (Documents && begins[stage_ * Q + Q - 1] >= 0) kept = 0;
            const float *before = before_of(i), *after = after_of(i);
#pragma unroll
            for (int k = 0; k < 4; k++)
#pragma unroll
                for (int word = 0; word < 4; word++) {
                    const Two weight = pair_of(after, 16 * k + word / 2 * 8 + 2 * q);
                    weighted[k][word] = round_to_bfloat16_pair(first_of(inputs[k][word]) * weight.x, second_of(inputs[k][word]) * weight.y);
                }
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int n = 0; n < 32; n++) state[part][n] *= kept;
            open_products();
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int k = 0; k < 4; k++) start_product<true>(state[part], weighted[k], operand(key + part * SwizzledTile, 16 * k, 0), true);
            close_products();
            if (a.states) save(operands, chunk);
            if constexpr (Output) {
                wait_for_products<2>();
                settle(output);
#pragma unroll
                for (int n = 0; n < 8; n++) {
                    const Two left_ = pair_of(before, 8 * n + 2 * q);
#pragma unroll
                    for (int e = 0; e < 4; e++) output[4 * n + e] *= e % 2 ? left_.y : left_.x;
                }
                const Place square = squarePlace + static_cast<int>(i % 2) * SwizzledTile;
                open_products();
#pragma unroll
                for (int k = 0; k < 4; k++) start_product<false>(output, inputs[k], operand(square, 0, 16 * k), true);
                close_products();
                wait_for_products<2>();
                settle(products);
                if (i + 1 < steps_) {
                    weigh(ahead, i + 1);
                    decayed(products, squares + (i + 1) % 2 * SwizzledTile, ahead, skip);
                }
                wait_for_products<0>();
                settle(output);
                write(output, chunk * Q);
            }
            wait_for_products<0>();
#pragma unroll
            for (int part = 0; part < Parts; part++) settle(state[part]);
            stage_ = stage_ + 1 < Stages ? stage_ + 1 : 0;
            ahead = ahead + 1 < Stages ? ahead + 1 : 0;
            next = next + 1 < Stages ? next + 1 : 0;
        }
        if constexpr (Output) {                          // pads past the last chunk that was walked
            const i64 from = (last > begin ? last : begin) * Q, to = end * Q < a.length ? end * Q : a.length;
            for (i64 i = threadIdx.x; i < (to - from) * Channels; i += Threads) {
                const i64 t = from + i / Channels, head = i % Channels / Slice, p = offset + i % Slice;
                if (head < count && p < P) static_cast<Element*>(a.out)[((row * a.length + t) * a.heads + first + head) * P + p] = from_float<Element>(0);
            }
        }
        if (a.outgoing && (a.outgoingSegments > 1 || segment == (Reverse ? 0 : a.segments - 1))) {
            float* to = a.outgoing + ((row * a.outgoingSegments + (a.outgoingSegments > 1 ? segment : 0)) * a.heads + first + own) * P * N;
            each([&](int part, int i, int at) { to[at] = state[part][i]; });
        }
    }
};

// Gradients of b, c and the time steps: as Pairs. A group of four warps owns 64 states and, of the chunk's 64 x 64 pairs, as many columns as its share.
struct GroupPairs {
    static constexpr int Parts = N / 64, Columns = 64 / Parts, Count = Columns / 2, Size = 2 * SwizzledTile + 2 * Parts * SwizzledTile;
    // Partial sums: rows, through c and through b (Parts, Q) each, columns (4, Q), the diagonal (Q), inner products and that of the skip (warps) each, and the steps (Q) and
    // what is left over the chunk. Twice: a head's are added up while the next head is at work.
    static constexpr int RowSums = 0, QuerySums = Parts * Q, KeySums = 2 * Parts * Q, ColumnSums = 3 * Parts * Q, Diagonal = ColumnSums + 4 * Q, InnerSums = Diagonal + Q,
        SkipSums = InnerSums + 4 * Parts, Deltas = SkipSums + 4 * Parts, Last = Deltas + Q, SumsSize = Last + 4;

    const DualArguments& a;
    i64 row, chunk, projection, first, count, split_, valid, begin;
    int warp, lane, r, q, group, line;                                              // line: this thread's first row, the other one is 8 further on
    u16 *keys, *queries, *stages;
    Place keyPlace, queryPlace, stagePlace;
    float *numbers, *sums;
    int* begins;

    __device__ __forceinline__ explicit GroupPairs(const DualArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(u16, shared);
        keys = tiles_in(shared);
        queries = keys + Parts * SwizzledTile;
        stages = queries + Parts * SwizzledTile;
        numbers = reinterpret_cast<float*>(stages + PairStages * Size);
        sums = numbers + PairStages * 2 * Q;
        begins = reinterpret_cast<int*>(sums + 2 * SumsSize);
        keyPlace = place_of(keys);
        queryPlace = place_of(queries);
        stagePlace = place_of(stages);
        i64 block = blockIdx.x;
        split_ = block % a.splits;
        block /= a.splits;
        projection = block % a.groups;
        block /= a.groups;
        chunk = block % a.chunks;
        row = a.firstRow + block / a.chunks;
        const i64 perGroup = a.heads / a.groups, part = (perGroup + a.splits - 1) / a.splits;
        first = projection * perGroup + split_ * part;
        count = perGroup - split_ * part;
        count = count < 0 ? 0 : count < part ? count : part;
        valid = a.length;
        if (a.lengths && a.lengths[row] < valid) valid = a.lengths[row];
        begin = chunk * Q;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        r = lane / 4;
        q = lane % 4;
        group = warp / 4;
        line = warp % 4 * 16 + r;
    }

    __device__ __forceinline__ void load_ahead(i64 unit, int stage_) const {
        const i64 head = first + unit / (P / 64), offset = unit % (P / 64) * 64, rest = valid - begin;
        const int left_ = rest < Q ? static_cast<int>(rest) : Q;
        const Place to = stagePlace + stage_ * Size;
        stage_tile<PairThreads>(to, static_cast<const Element*>(a.in) + row * a.inRow + begin * a.inToken + head * P + offset, a.inToken, left_);
        stage_tile<PairThreads>(to + SwizzledTile, static_cast<const Element*>(a.gradient) + row * a.gradientRow + begin * a.gradientToken + head * P + offset, a.gradientToken, left_);
        const i64 state = ((((row - a.firstRow) * a.chunks + chunk) * a.heads + head) * P + offset) * N;
#pragma unroll
        for (int part = 0; part < Parts; part++) {
            stage_tile<PairThreads>(to + (2 + part) * SwizzledTile, static_cast<const Element*>(a.states) + state + part * 64, N, 64);
            stage_tile<PairThreads>(to + (2 + Parts + part) * SwizzledTile, static_cast<const Element*>(a.backStates) + state + part * 64, N, 64);
        }
        const float* from = a.delta + ((row * a.heads + head) * a.chunks + chunk) * Q;
        const i64 cum = a.cum - a.delta;
        stage_numbers<2, PairThreads>(numbers + stage_ * 2 * Q, [=](int array) { return from + (array ? cum : 0); });
    }

    __device__ __forceinline__ void finish(const float (&dKey)[32], const float (&dQuery)[32]) const {
#pragma unroll
        for (int i = 0; i < 32; i++) {
            const i64 t = begin + line + i % 4 / 2 * 8;
            if (t >= a.length) continue;
            const i64 at = (((split_ * a.batch + row) * a.length + t) * a.groups + projection) * N + group * 64 + i / 4 * 8 + 2 * q + i % 2;
            if (a.splits > 1) {
                static_cast<float*>(a.dKey)[at] = dKey[i];
                static_cast<float*>(a.dQuery)[at] = dQuery[i];
            } else {
                static_cast<Element*>(a.dKey)[at] = from_float<Element>(dKey[i]);
                static_cast<Element*>(a.dQuery)[at] = from_float<Element>(dQuery[i]);
            }
        }
    }

    // sums += weights (rows) x part; returns the sums over columns of part x tile for this thread's two rows
    __device__ __forceinline__ void gather(const float (&part)[32], const u16* tile, const float (&weights)[2], float (&into)[32], float (&through)[2]) const {
        const unsigned* words = reinterpret_cast<const unsigned*>(tile) + line * 32 + q;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const unsigned word = words[half * 8 * 32 + (n ^ r) * 4];
                const float low = part[4 * n + 2 * half], high = part[4 * n + 2 * half + 1];
                through[half] += low * first_of(word);
                through[half] += high * second_of(word);
                into[4 * n + 2 * half] += weights[half] * low;
                into[4 * n + 2 * half + 1] += weights[half] * high;
            }
    }

    // this thread's part of the sum of S dS over a unit
    __device__ __forceinline__ float inner_product(const u16* state) const {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int at = (i * PairThreads + threadIdx.x) * 8;
            const Raw<bfloat16, 8> left_ = load_raw<bfloat16, 8>(state, at), right_ = load_raw<bfloat16, 8>(state, Parts * SwizzledTile + at);
#pragma unroll
            for (int j = 0; j < 8; j++) sum += left_[j] * right_[j];
        }
        return sum;
    }

    // from dy x^T of a head: the sums over rows and columns that lead to the time steps, and its part of the gradient of c b^T
    __device__ __forceinline__ void finish_head(const float (&outer)[Count], const float (&products)[Count], float (&dSquare)[Count], const float* delta, const float* cum, float* sums) const {
        float rows[2] = {}, columns[Count / 2] = {}, dSkip = 0;
        const float sum[2] = {cum[line], cum[line + 8]};
#pragma unroll
        for (int n = 0; n < Columns / 8; n++) {
            const int block = group * (Columns / 16) + n / 2;
            if (block > warp % 4) continue;
            const bool diagonal = block == warp % 4;
            const int column = group * Columns + 8 * n + 2 * q;
            const Two steps_ = pair_of(delta, column), others = pair_of(cum, column);
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int i = 4 * n + 2 * half + e, to = line + 8 * half, from = column + e;
                    float kept = outer[i] * exp2_approximate(sum[half] - (e ? others.y : others.x));
                    if constexpr (Documents) { if (from < begins[to]) kept = 0; }
                    if (diagonal && from > to) kept = 0;
                    float through = kept * products[i];
                    const float step = e ? steps_.y : steps_.x;
                    dSquare[i] += kept * step;
                    if (diagonal && from == to) {
                        sums[Diagonal + to] = through;
                        dSkip += outer[i];
                        through = 0;
                    }
                    rows[half] += through * step;
                    columns[2 * n + e] += through;
                }
        }
        // of those lanes that share q, lane r is left with columns Each r to Each r + Each - 1 of this thread's
        constexpr int Each = Count / 16;
        reduce_scatter<Count / 2, 16, 4>(columns, lane);
#pragma unroll
        for (int i = 0; i < Each; i++) {
            const int mine = Each * r + i;
            sums[ColumnSums + warp % 4 * Q + group * Columns + 8 * (mine / 2) + 2 * q + mine % 2] = columns[i];
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float total = lane_sum(rows[half], 4);
            if (q == 0) sums[RowSums + group * Q + line + 8 * half] = total;
        }
        dSkip = lane_sum(dSkip, 32);
        if (lane == 0) sums[SkipSums + warp] = dSkip;
    }

    // what leads to the time steps of a head, of the partial sums that all warps have left
    __device__ __forceinline__ void add_up(i64 number) const {
        const float* own = sums + number % 2 * SumsSize;
        const i64 head = first + number;
        if (threadIdx.x < Q) {
            const int t = threadIdx.x;
            float rows = 0, columns = 0, query = 0, key = 0;
#pragma unroll
            for (int i = 0; i < Parts; i++) { rows += own[RowSums + i * Q + t]; query += own[QuerySums + i * Q + t]; key += own[KeySums + i * Q + t]; }
#pragma unroll
            for (int i = 0; i < 4; i++) columns += own[ColumnSums + i * Q + t];
            const i64 at = ((row * a.heads + head) * a.chunks + chunk) * Q + t;
            a.suffix[at] = rows + query - own[Deltas + t] * columns;
            a.prefix[at] = key;
            a.direct[at] = columns + own[Diagonal + t];
        } else if (threadIdx.x == PairThreads - 1) {
            float total = 0, dSkip = 0;
#pragma unroll
            for (int i = 0; i < 4 * Parts; i++) { total += own[InnerSums + i]; dSkip += own[SkipSums + i]; }
            const i64 at = (row * a.chunks + chunk) * a.heads + head;
            a.inner[at] = total * own[Last];
            a.diagonal[at] = dSkip;
        }
    }

    __device__ __forceinline__ void run() const {
        constexpr int PerHead = P / 64;
        float dKey[32] = {}, dQuery[32] = {}, dSquare[Count] = {}, products[Count], outer[Count];
        if (begin >= valid || count == 0) {
            finish(dKey, dQuery);
            for (i64 i = threadIdx.x; i < count; i += PairThreads) a.diagonal[(row * a.chunks + chunk) * a.heads + first + i] = 0;
            return;
        }
        {
            const int left_ = valid - begin < Q ? static_cast<int>(valid - begin) : Q;
            const Element *key = static_cast<const Element*>(a.key) + row * a.keyRow + begin * a.keyToken + projection * N;
            const Element *query = static_cast<const Element*>(a.query) + row * a.queryRow + begin * a.queryToken + projection * N;
#pragma unroll
            for (int part = 0; part < Parts; part++) {
                stage_tile<PairThreads>(keyPlace + part * SwizzledTile, key + part * 64, a.keyToken, left_);
                stage_tile<PairThreads>(queryPlace + part * SwizzledTile, query + part * 64, a.queryToken, left_);
            }
            if constexpr (Documents) {
                const float* begins_ = reinterpret_cast<const float*>(a.begins) + (row * a.chunks + chunk) * Q;
                stage_numbers<1, PairThreads>(reinterpret_cast<float*>(begins), [=](int) { return begins_; });
            }
        }
        const i64 units = count * PerHead;
#pragma unroll
        for (int i = 0; i < PairStages - 1; i++) {
            if (i < units) load_ahead(i, i);
            copy_commit();
        }
        copy_wait<PairStages - 2>();
        publish();
        __syncthreads();
        open_products();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++)
            start_product<false>(products, operand(queryPlace + k / 4 * SwizzledTile, 0, k % 4 * 16), operand(keyPlace + k / 4 * SwizzledTile, group * Columns, k % 4 * 16), k > 0);
        close_products();
        wait_for_products<0>();
        settle(products);
        float inner = 0, throughQuery[2] = {}, throughKey[2] = {};
        int stage_ = 0, next = PairStages - 1;
        for (i64 unit = 0; unit < units; unit++) {
            copy_wait<PairStages - 2>();
            publish();
            __syncthreads();
            if (unit + PairStages - 1 < units) load_ahead(unit + PairStages - 1, next);
            copy_commit();
            if (unit > 0 && unit % PerHead == 0) add_up(unit / PerHead - 1);
            const bool begins_head = PerHead == 1 || unit % PerHead == 0, ends_head = PerHead == 1 || unit % PerHead == PerHead - 1;
            const Place in = stagePlace + stage_ * Size, gradient = in + SwizzledTile, state = in + (2 + group) * SwizzledTile, back = in + (2 + Parts + group) * SwizzledTile;
            const float *delta = numbers + stage_ * 2 * Q, *cum = delta + Q;
            open_products();
            float forQuery[32], forKey[32];
#pragma unroll
            for (int k = 0; k < 4; k++) start_product<true>(forQuery, operand(gradient, 0, 16 * k), operand(state, 16 * k, 0), k > 0);
            close_products();
#pragma unroll
            for (int k = 0; k < 4; k++) start_product<true>(forKey, operand(in, 0, 16 * k), operand(back, 16 * k, 0), k > 0);
#pragma unroll
            for (int k = 0; k < 4; k++) start_product<false>(outer, operand(gradient, 0, 16 * k), operand(in, group * Columns, 16 * k), !begins_head || k > 0);
            close_products();
            const int edge = Documents ? begins[Q - 1] : -1;
            float fromEdge[2], toEdge[2], weights[2];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int t = line + 8 * half;
                fromEdge[half] = Documents && begins[t] >= 0 ? 0.f : exp2_approximate(cum[t]);
                toEdge[half] = Documents && t < edge ? 0.f : exp2_approximate(cum[Q - 1] - cum[t]);
                weights[half] = toEdge[half] * delta[t];
            }
            inner += inner_product(stages + stage_ * Size + 2 * SwizzledTile);
            wait_for_products<1>();
            settle(forQuery);
            gather(forQuery, queries + group * SwizzledTile, fromEdge, dQuery, throughQuery);
            wait_for_products<0>();
            settle(forKey);
            settle(outer);
            gather(forKey, keys + group * SwizzledTile, weights, dKey, throughKey);
            if (ends_head) {                                                        // all channels of the head are in
                const i64 head = unit / PerHead;
                float* own = sums + head % 2 * SumsSize;
                finish_head(outer, products, dSquare, delta, cum, own);
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int t = line + 8 * half;
                    const float query = lane_sum(throughQuery[half], 4) * fromEdge[half], key = lane_sum(throughKey[half], 4) * toEdge[half];
                    if (q == 0) {
                        own[QuerySums + group * Q + t] = query;
                        own[KeySums + group * Q + t] = key;
                    }
                    throughQuery[half] = throughKey[half] = 0;
                }
                inner = lane_sum(inner, 32);
                if (lane == 0) own[InnerSums + warp] = inner;
                inner = 0;
                if (threadIdx.x < Q) own[Deltas + threadIdx.x] = delta[threadIdx.x];
                else if (threadIdx.x == Q) own[Last] = edge >= 0 ? 0.f : exp2_approximate(cum[Q - 1]);
            }
            stage_ = stage_ + 1 < PairStages ? stage_ + 1 : 0;
            next = next + 1 < PairStages ? next + 1 : 0;
        }
        // what the heads' pairs gave together, times b and c once
        copy_wait<0>();
        __syncthreads();
        add_up(count - 1);
#pragma unroll
        for (int i = 0; i < Count; i++) {
            const int to = line + i % 4 / 2 * 8, from = group * Columns + i / 4 * 8 + 2 * q + i % 2;
            const u16 bits = round_to_bfloat16(dSquare[i]);
            stages[swizzled(to, from)] = bits;
            stages[SwizzledTile + swizzled(from, to)] = bits;
        }
        publish();
        __syncthreads();
        open_products();
#pragma unroll
        for (int k = 0; k < 4; k++) start_product<true>(dQuery, operand(stagePlace, 0, 16 * k), operand(keyPlace + group * SwizzledTile, 16 * k, 0), true);
#pragma unroll
        for (int k = 0; k < 4; k++) start_product<true>(dKey, operand(stagePlace + SwizzledTile, 0, 16 * k), operand(queryPlace + group * SwizzledTile, 16 * k, 0), true);
        close_products();
        wait_for_products<0>();
        settle(dQuery);
        settle(dKey);
        finish(dKey, dQuery);
    }
};
