// The scan of the state-space dual over the chunks of a row, for compute capability 9.0a. Four warps own 64 channels of one head and multiply
// together (wgmma). They read B, C and the decayed pairs directly from shared memory, so registers contain only sums: the state (64 x N), an output
// of 64 x 64, and the state as an operand. A chunk has 64 tokens.
#pragma once
#include "StateSpaceDualChunkScan.cuh"

// Returns dynamic shared memory from a multiple of 1024 bytes on.
__device__ __forceinline__ u16* tiles_in(u16* shared) {
#ifdef HYBRID_EMULATION
    return shared;
#else
    return shared + (1024 - place_of(shared).address % 1024) % 1024 / 2;
#endif
}

// The last four warps of a block prepare chunks, one ahead of the others. They start the copies of whole tiles, multiply C and B, and apply the
// decays to the pairs for all heads of the block. The other warps, in groups of four, each keep 64 channels of the state of one head. Their output is
// copied out of the buffer where x was. Only barriers synchronize them: `full` when a chunk is ready for a group, `empty` when all groups have
// finished it, `left` when its output has left the buffer of x too, and barriers in shared memory that count arrived bytes.
template <bool Reverse, bool Output> struct GroupChunkScan : ChunkScanBlock {
    static constexpr int Parts = N / 64, Groups = SSD_GROUPS, HeadGroups = Slice / 64;   // tiles of 64 states; groups of a head
    static_assert(Stages == 3, "a chunk at work, one made ready and one on its way");
    // Without output, a chunk is finished before the next one has arrived, and there is room for more copies.
    static constexpr int Ring = Output ? Stages : Stages + 2;
    static constexpr int InSize = Groups * SwizzledTile, KeySize = Parts * SwizzledTile, StageSize = InSize + (Output ? 2 : 1) * KeySize;
    static constexpr int TileBytes = 2 * SwizzledTile, ChunkBytes = 2 * (StageSize - InSize) + 4 * Q * (2 * Heads + Documents);

    // group: this group of four warps; count_: the chunks; the tokens of the row without padding
    int four, count_, tokens;
    u16 *stages, *squares, *saved;  // squares: (2, Heads), for a chunk and the next; saved: see save
    // landed: barriers (1 + Groups, Ring), of B, C and the time steps, and of x of each group
    Place stagePlace, squarePlace, numbersPlace, beginsPlace, landed;
    // (Ring, 2, Heads, Q): time steps and their sums; (Ring, Heads, 2, Q) and (2, Heads, 4, Q): see weigh
    float *numbers, *weights, *factors;
    int* begins;
    bool active;

    __device__ __forceinline__ explicit GroupChunkScan(const DualArguments& arguments) : ChunkScanBlock(arguments) {
        DYNAMIC_SHARED(u16, shared);
        stages = tiles_in(shared);
        four = warp / 4;
        count_ = static_cast<int>(chunkCount);
        tokens = static_cast<int>(valid);
        squares = stages + Ring * StageSize;
        saved = squares + (Output ? 2 * Heads * SwizzledTile : 0);
        numbers = reinterpret_cast<float*>(saved + Groups * 64 * (N + 8));
        weights = numbers + Ring * 2 * Heads * Q;
        factors = weights + Ring * 2 * Heads * Q;
        begins = reinterpret_cast<int*>(factors + (Output ? 8 * Heads * Q : 0));
        stagePlace = place_of(stages);
        squarePlace = place_of(squares);
        numbersPlace = place_of(reinterpret_cast<u16*>(numbers));
        beginsPlace = place_of(reinterpret_cast<u16*>(begins));
        landed = place_of(reinterpret_cast<u16*>(begins + Ring * Q));
        active = headOfBlock < count && channel < P;
    }

    __device__ __forceinline__ int chunk_of(int i) const { return static_cast<int>(Reverse ? last - 1 : begin) + (Reverse ? -i : i); }

    // Returns the number of tokens of a chunk without padding.
    __device__ __forceinline__ int left_of(int chunk) const { return tokens - chunk * Q < Q ? tokens - chunk * Q : Q; }

    // Barriers of the four warps that prepare chunks with a group or (`empty`) with all groups, of a group with one of those warps, in turn, and of a
    // group alone.
    __device__ __forceinline__ static int full(int four, int i) { return 2 + 2 * four + i % 2; }
    __device__ __forceinline__ static int empty(int i) { return full(Groups, i); }
    __device__ __forceinline__ static int left(int four, int i) { return full(Groups + 1 + four, i); }
    __device__ __forceinline__ static int own_barrier(int four) { return full(2 * Groups + 1, four); }

    // Barriers for the arrival of x of a group, or of what the block shares (-1).
    __device__ __forceinline__ Place landed_of(int four, int stage_) const { return landed + 4 * ((1 + four) * Ring + stage_); }

    // Returns the position in a ring of stages, and the parity of its barriers.
    struct Turn {
        int stage = 0;
        unsigned parity = 0;

        __device__ __forceinline__ void next() {
            stage = stage + 1 < Ring ? stage + 1 : 0;
            parity ^= stage == 0;
        }
        __device__ __forceinline__ int before() const { return stage > 0 ? stage - 1 : Ring - 1; }
        __device__ __forceinline__ int after() const { return stage + 1 < Ring ? stage + 1 : 0; }
    };

    // ---- the preparation of chunks ----

    // Starts the copies of a share of a chunk; called by the first thread of each of the four warps.
    __device__ __forceinline__ void load_ahead(int chunk, int stage_) const {
        const int warpOfGroup = warp % 4, token = chunk * Q, line = static_cast<int>(row), state = static_cast<int>(group * N);
        const Place to = stagePlace + (stage_ * StageSize + InSize), barrier = landed_of(-1, stage_);
        if (warpOfGroup == 0) expect(barrier, ChunkBytes);
        if (warpOfGroup < Parts) copy_tile(to + warpOfGroup * SwizzledTile, args.bMap, state + warpOfGroup * 64, token, line, barrier);
        else if (Output && warpOfGroup < 2 * Parts) copy_tile(to + warpOfGroup * SwizzledTile, args.cMap, state + (warpOfGroup - Parts) * 64, token,
            line, barrier);
        const int array = warpOfGroup / Heads, head = warpOfGroup % Heads < count ? warpOfGroup % Heads : 0;
        if (warpOfGroup < 2 * Heads)
            copy_in(numbersPlace + (stage_ * 2 * Heads + warpOfGroup) * 2 * Q,
            (array ? args.decaySums : args.dt) + ((row * args.heads + firstHead + head) * args.chunks + chunk) * Q, 4 * Q, barrier);
        if (Documents && warpOfGroup == 3) copy_in(beginsPlace + 2 * stage_ * Q, args.documentBegins + (row * args.chunks + chunk) * Q, 4 * Q,
            barrier);
        if constexpr (!Output) { if (warpOfGroup < Groups) load_input(warpOfGroup, chunk, stage_); }
    }

    // Starts the copy of x of a group; called by one thread.
    __device__ __forceinline__ void load_input(int four, int chunk, int stage_) const {
        const int element = static_cast<int>((firstHead + four / HeadGroups) * P + offset) + four % HeadGroups * 64;
        expect(landed_of(four, stage_), TileBytes);
        copy_tile(stagePlace + (stage_ * StageSize + four * SwizzledTile), args.xMap, element, chunk * Q, static_cast<int>(row),
            landed_of(four, stage_));
    }

    // Returns the first of 8 tokens that this warp processes. Of the rows of 8, a warp has the one of its number and the one of that number from the
    // end, so that all warps have the same number of pairs.
    __device__ __forceinline__ int line_of(int half) const { return 8 * (half ? 7 - warp % 4 : warp % 4); }

    // Writes zeros to padding of B and C, in the lines of this warp.
    __device__ __forceinline__ void clear(int chunk, int stage_) const {
        const int validTokens = left_of(chunk);
        u16* from = stages + stage_ * StageSize + InSize;
        for (int tile = 0; tile < (StageSize - InSize) / SwizzledTile; tile++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int line = line_of(i / 2) + i % 2 * 4 + lane / 8;
                if (line >= validTokens) *reinterpret_cast<Word<16>*>(from + tile * SwizzledTile + line * 64 + lane % 8 * 8) = {};
            }
        publish();
        sync_warp();
        meet(1, 128);
    }

    __device__ __forceinline__ const float* steps_of(int stage_, int head) const { return numbers + (stage_ * 2 * Heads + head) * Q; }
    __device__ __forceinline__ const float* sums_of(int stage_, int head) const { return numbers + ((stage_ * 2 + 1) * Heads + head) * Q; }

    __device__ __forceinline__ float* before_of(int stage_, int head) const { return weights + (stage_ * Heads + head) * 2 * Q; }
    __device__ __forceinline__ float* after_of(int stage_, int head) const { return before_of(stage_, head) + Q; }
    __device__ __forceinline__ float* factors_of(int i, int head) const { return factors + (i % 2 * Heads + head) * 4 * Q; }

    // For each token of the i-th chunk: the remainder of the previous state at the token, in scan order, and the remainder of the token at the end
    // of the chunk. For pairs in different blocks of 16 tokens: the remainder from the edge of the later token's block to that token and, for each
    // later block, the remainder of the earlier token at that edge. The product of both is the decay of the pair.
    // blockEdge: at the edge of the block of the token (the start, or Reverse the end); edges: the same for all blocks
    struct Tokens { float sum, last, step, blockEdge, edges[4]; };

    __device__ __forceinline__ Tokens read_sums(int stage_) const {
        const int head = threadIdx.x % 128 / Q, t = threadIdx.x % Q;
        Tokens tokens_ = {};
        if (head >= Heads) return tokens_;
        const float* sums = sums_of(stage_, head);
        tokens_.sum = sums[t];
        tokens_.last = sums[Q - 1];
        tokens_.step = steps_of(stage_, head)[t];
        if constexpr (Output) {
            tokens_.blockEdge = sums[t / 16 * 16 + (Reverse ? 15 : 0)];
#pragma unroll
            for (int block = 1; block < 4; block++) tokens_.edges[block] = sums[16 * block - Reverse];
        }
        return tokens_;
    }

    __device__ __forceinline__ void weigh(const Tokens& of, int stage_, int i) const {
        const int head = threadIdx.x % 128 / Q, t = threadIdx.x % Q;
        if (head < Heads) {
            float from = exp2_approximate(of.sum), to = exp2_approximate(of.last - of.sum);
            const int* begins_ = begins + stage_ * Q;
            if constexpr (Documents) {
                if (begins_[t] >= 0) from = 0;
                if (t < begins_[Q - 1]) to = 0;
            }
            before_of(stage_, head)[t] = Reverse ? to * of.step : from;
            after_of(stage_, head)[t] = Reverse ? from : to * of.step;
            if constexpr (Output) {
                float* blockEdge = factors_of(i, head) + t;
                const int edge = t / 16 * 16 + (Reverse ? 15 : 0);
                const bool cut = Documents && (Reverse ? t < begins_[edge] : begins_[t] >= edge);
                blockEdge[0] = cut ? 0.f : Reverse ? exp2_approximate(of.blockEdge - of.sum) * of.step : exp2_approximate(of.sum - of.blockEdge);
                // also of blocks that are not later, which are not read
#pragma unroll
                for (int block = 1; block < 4; block++) {
                    const bool cut = Documents && (Reverse ? begins_[t] >= 16 * block : t < begins_[16 * block - 1]);
                    blockEdge[block * Q] = cut ? 0.f : Reverse ? exp2_approximate(of.sum - of.edges[block])
                        : exp2_approximate(of.edges[block] - of.sum) * of.step;
                }
            }
        }
        if constexpr (Documents) sync_warp();
        meet(1, 128);
    }

    // Computes C B^T for the outputs in the lines of this warp.
    __device__ __forceinline__ void start_square(float (&products)[32], int stage_) const {
        const Place b = stagePlace + (stage_ * StageSize + InSize), c = b + KeySize;
        const int line = line_of(lane / 8 % 2) + lane % 8;
        unsigned lines[4 * Parts][4];
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++) load_blocks<false>(lines[k], c + (k / 4 * SwizzledTile + swizzled(line, k % 4 * 16 + lane / 16 * 8)));
        open_products();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++) start_product<false>(products, lines[k], operand(b + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
        close_products();
    }

    // Computes decayed products of both rows for the warp of number Own, with the tokens that they read. The rest of the tile contains zeros from the
    // start. Everything is loaded before the first value is written.
    template <int Own> __device__ __forceinline__ void decayed(
        const float (&products)[32], u16* square, int i, int stage_, int head, float skip) const {
        const float *sums = sums_of(stage_, head), *dts = steps_of(stage_, head), *rows = factors_of(i, head);
        float row[2], sum[2], step[2];
        Two others[2][8], nearSteps[2][8];
        int begin_[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int ownBlock = half ? 7 - Own : Own, block = ownBlock / 2, line = 8 * ownBlock + r;
            row[half] = rows[line];
            sum[half] = sums[line];
            if constexpr (Reverse) step[half] = dts[line];
            if constexpr (Documents && !Reverse) begin_[half] = begins[stage_ * Q + line];
#pragma unroll
            for (int n = 0; n < 8; n++) {
                if (Reverse ? n < ownBlock : n > ownBlock) continue;
                others[half][n] = pair_of(n / 2 == block ? sums : rows + (block + Reverse) * Q, 8 * n + 2 * q);
                if (n / 2 == block && !Reverse) nearSteps[half][n] = pair_of(dts, 8 * n + 2 * q);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int ownBlock = half ? 7 - Own : Own, line = 8 * ownBlock + r;
            u16* to = square + line * 64 + 2 * q;
#pragma unroll
            for (int n = 0; n < 8; n++) {
                if (Reverse ? n < ownBlock : n > ownBlock) continue;
                const Two other = others[half][n];
                float values[2] = {products[4 * n + 2 * half], products[4 * n + 2 * half + 1]};
                if (n / 2 == ownBlock / 2) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int from = 8 * n + 2 * q + e;
                        const float sum_ = e ? other.y : other.x;
                        values[e] *= exp2_approximate(Reverse ? sum_ - sum[half] : sum[half] - sum_) * (
                            Reverse ? step[half] : e ? nearSteps[half][n].y : nearSteps[half][n].x);
                        bool cut = n == ownBlock && (Reverse ? from < line : from > line);
                        if constexpr (Documents) cut |= Reverse ? line < begins[stage_ * Q + from] : from < begin_[half];
                        if (cut) values[e] = 0;
                        if (n == ownBlock && from == line) values[e] += skip;
                    }
                } else {
                    values[0] = values[0] * row[half] * other.x;
                    values[1] = values[1] * row[half] * other.y;
                }
                *reinterpret_cast<unsigned*>(to + (n ^ r) * 8) = round_to_bfloat16_pair(values[0], values[1]);
            }
        }
    }

    template <int Own> __device__ __forceinline__ void decay(const float (&products)[32], int i, int stage_, const float (&skips)[Heads]) const {
#pragma unroll
        for (int head = 0; head < Heads; head++) {
            decayed<Own>(products, squares + (i % 2 * Heads + head) * SwizzledTile, i, stage_, head, skips[head]);
            publish();
            if constexpr (Documents) sync_warp();
#pragma unroll
            for (int g = 0; g < HeadGroups; g++) arrive(full(head * HeadGroups + g, i), 256);
        }
    }

    __device__ __forceinline__ void produce() const {
        float skips[Heads] = {};
        if constexpr (Output) {
#pragma unroll
            for (int head = 0; head < Heads; head++) skips[head] = args.D && head < count ? args.D[firstHead + head] : 0.f;
            for (int i = threadIdx.x % 128; i < Heads * SwizzledTile; i += 128) reinterpret_cast<unsigned*>(squares)[i] = 0;
        }
        const bool loads = lane == 0, pads = valid < args.length;
        // The group whose x this warp has copied, if its buffer becomes free later than the rest.
        const int inputs = warp % 4 - (4 - Groups);
        if (loads)
            for (int i = 0; i < Ring - 1 && i < count_; i++) {
                load_ahead(chunk_of(i), i);
                if (Output && inputs >= 0) load_input(inputs, chunk_of(i), i);
            }
        sync_warp();
        Turn turn;
        for (int i = 0; i < count_; i++, turn.next()) {
            wait_for_copies(landed_of(-1, turn.stage), turn.parity);
            if (pads && left_of(chunk_of(i)) < Q) clear(chunk_of(i), turn.stage);
            const Tokens tokens_ = read_sums(turn.stage);
            if constexpr (Output) {
                float products[32];
                start_square(products, turn.stage);
                if (inputs >= 0 && i > 0 && i + 1 < count_) {
                    if (i > 1) meet(left(inputs, i), 160);
                    if (loads) load_input(inputs, chunk_of(i + 1), turn.after());
                    sync_warp();
                }
                weigh(tokens_, turn.stage, i);
                wait_for_products<0>();
                settle(products);
                switch (warp % 4) {
                    case 0: decay<0>(products, i, turn.stage, skips); break;
                    case 1: decay<1>(products, i, turn.stage, skips); break;
                    case 2: decay<2>(products, i, turn.stage, skips); break;
                    default: decay<3>(products, i, turn.stage, skips);
                }
            } else {
                weigh(tokens_, turn.stage, i);
#pragma unroll
                for (int g = 0; g < Groups; g++) arrive(full(g, i), 256);
            }
            // The copies that fit in the buffers of the previous chunk.
            if (i > 0 && i + 1 < count_) meet(empty(i - 1), ScanThreads);
            if (loads && i + Ring - 1 < count_) load_ahead(chunk_of(i + Ring - 1), turn.before());
            sync_warp();
        }
    }

    // ---- the state ----

    // Reads x of a chunk, the 16 channels of this warp, from its tile; zeros for padding.
    __device__ __forceinline__ void read_input(unsigned (&inputs)[4][4], Place in, int validTokens) const {
#pragma unroll
        for (int k = 0; k < 4; k++) load_blocks<true>(inputs[k], in + swizzled(16 * k + lane % 8 + lane / 16 * 8, warp % 4 * 16 + lane / 8 % 2 * 8));
        if (validTokens < Q)
#pragma unroll
            for (int k = 0; k < 4; k++)
#pragma unroll
                for (int word = 0; word < 4; word++) {
                    const int t = 16 * k + word / 2 * 8 + 2 * q;
                    inputs[k][word] = t + 1 < validTokens ? inputs[k][word] : t < validTokens ? inputs[k][word] & 0xffff : 0;
                }
    }

    // Writes the rounded output of this warp where its inputs were; zeros for padding, for any state.
    __device__ __forceinline__ void turn_output(float (&sums)[32], Place tile, int validTokens) const {
        if (validTokens < Q)
#pragma unroll
            for (int i = 0; i < 32; i++)
                if (i / 4 * 8 + 2 * q + i % 2 >= validTokens) sums[i] = 0;
#pragma unroll
        for (int n = 0; n < 8; n += 2) {
            unsigned words[4];
#pragma unroll
            for (int i = 0; i < 4; i++) words[i] = round_to_bfloat16_pair(sums[4 * (n + i / 2) + i % 2 * 2], sums[4 * (n + i / 2) + i % 2 * 2 + 1]);
            store_blocks<true>(tile + swizzled(8 * n + lane / 16 * 8 + lane % 8, warp % 4 * 16 + lane / 8 % 2 * 8), words);
        }
    }

    // Stores the state before the chunk for the pairs kernel: the 16 rows of this warp, through shared memory.
    __device__ __forceinline__ void save(const unsigned (&operands)[4 * Parts][4], int chunk) const {
        const Place own_ = place_of(saved + warp * 16 * (N + 8));
        copied_out();
        sync_warp();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++) store_blocks<false>(own_ + ((lane % 16) * (N + 8) + 16 * k + lane / 16 * 8), operands[k]);
        publish();
        sync_warp();
        if (active && lane < 16)
            copy_out(static_cast<Element*>(args.states) + ((((row - args.firstRow) * args.chunks + chunk) * args.heads + firstHead
                + headOfBlock) * P + channel + lane) * N,
                own_ + lane * (N + 8), 2 * N);
    }

    // Calls action with (part, register, offset) for each number of the state in this thread.
    template <class Each> __device__ __forceinline__ void each(Each&& action) const {
        if (!active) return;
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int i = 0; i < 32; i++) action(part, i, (channel + r + i % 4 / 2 * 8) * N + part * 64 + i / 4 * 8 + 2 * q + i % 2);
    }

    __device__ __forceinline__ void consume() const {
        float state[Parts][32] = {};
        if (args.incoming) {
            const float* from = args.incoming + state_at(args.segments);
            each([&](int part, int i, int at) { state[part][i] = from[at]; });
        }
        // If memory limits the scan, as it does when states are saved, B and C that arrive before x bring no benefit and delay the copies that are
        // waited for.
        const bool late = Output && args.states;
        Turn turn;
        for (int i = 0; i < count_; i++, turn.next()) {
            const int stage_ = turn.stage, validTokens = left_of(chunk_of(i));
            const Place in = stagePlace + (stage_ * StageSize + four * SwizzledTile), b = stagePlace + (stage_ * StageSize + InSize),
                c = b + KeySize;
            unsigned operands[4 * Parts][4];  // the state, rounded
            if (Output || args.states)
#pragma unroll
                for (int part = 0; part < Parts; part++)
#pragma unroll
                    for (int k = 0; k < 4; k++)
#pragma unroll
                        for (int word = 0; word < 4; word++) {
                            const int at = 4 * (2 * k + word / 2) + word % 2 * 2;
                            operands[4 * part + k][word] = round_to_bfloat16_pair(state[part][at], state[part][at + 1]);
                        }
            unsigned inputs[4][4], weighted[4][4];
            wait_for_copies(landed_of(four, stage_), turn.parity);
            read_input(inputs, in, validTokens);
            meet(full(four, i), 256);
            // In the order in which they are started: the state's part of the output, the new state, the chunk's part of the output.
            float output[32];
            if constexpr (Output) {
                open_products();
#pragma unroll
                for (int k = 0; k < 4 * Parts; k++)
                    start_product<false>(output, operands[k], operand(c + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
                close_products();
            }
            const float *before = before_of(stage_, headOfBlock), *after = after_of(stage_, headOfBlock), kept = (Reverse ? after : before)[Q - 1];
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
                for (int k = 0; k < 4; k++) start_product<true>(state[part], weighted[k], operand(b + part * SwizzledTile, 16 * k, 0), true);
            close_products();
            if constexpr (Output) {
                copied_out();
                if (i > 0 && i + 2 < count_) arrive(left(four, i - 1), 160);
                if (late && i > 0 && i + 1 < count_) arrive(empty(i - 1), ScanThreads);
            }
            if (args.states) save(operands, chunk_of(i));
            if constexpr (Output) {
                wait_for_products<1>();
                settle(output);
#pragma unroll
                for (int n = 0; n < 8; n++) {
                    const Two still = pair_of(before, 8 * n + 2 * q);
#pragma unroll
                    for (int e = 0; e < 4; e++) output[4 * n + e] *= e % 2 ? still.y : still.x;
                }
                const Place square = squarePlace + (i % 2 * Heads + headOfBlock) * SwizzledTile;
                open_products();
#pragma unroll
                for (int k = 0; k < 4; k++) start_product<false>(output, inputs[k], operand(square, 0, 16 * k), true);
                close_products();
            }
            wait_for_products<0>();
            if constexpr (Output) settle(output);
#pragma unroll
            for (int part = 0; part < Parts; part++) settle(state[part]);
            if (!late && i + 2 < count_) arrive(empty(i), ScanThreads);
            if constexpr (Output) {
                turn_output(output, in, validTokens);
                publish();
                meet(own_barrier(four), 128);
                if (threadIdx.x % 128 == 0 && active)
                    copy_tile_out(args.outputMap, static_cast<int>((firstHead + headOfBlock) * P) + channel, chunk_of(i) * Q, static_cast<int>(row),
                        in);
                sync_warp();
            }
        }
        copied_out();
        if constexpr (Output) clear_pads();
        if (args.outgoing && (args.outgoingSegments > 1 || segment == (Reverse ? 0 : args.segments - 1))) {
            float* to = args.outgoing + state_at(args.outgoingSegments);
            each([&](int part, int i, int at) { to[at] = state[part][i]; });
        }
    }

    __device__ __forceinline__ void run() const {
        if (threadIdx.x == 0)
            for (int i = 0; i < (1 + Groups) * Ring; i++) open_barrier(landed + 4 * i, 1);
        __syncthreads();
        if (four == Groups) {
            if constexpr (Groups == 2) lower_registers<120>();
            produce();
        } else {
            if constexpr (Groups == 2) raise_registers<192>();
            consume();
        }
    }
};
