// The walk and the pairs of StateSpaceDual.cu for compute capability 9.0a: four warps own 64 channels of one head and multiply together (wgmma),
// reading b, c and the decayed pairs straight from shared memory, so that registers hold sums alone: the state (64 x N), an output of 64 x 64, and
// the state as an operand. A chunk has 64 tokens.
#pragma once

// dynamic shared memory from a multiple of 1024 bytes on
__device__ __forceinline__ u16* tiles_in(u16* shared) {
#ifdef HYBRID_EMULATION
    return shared;
#else
    return shared + (1024 - place_of(shared).address % 1024) % 1024 / 2;
#endif
}

// The last four warps of a block make chunks ready, one ahead of the others: they have the copy engine bring in whole tiles, multiply c and b, and
// decay the pairs for all heads of the block. The others, in groups of four, each keep 64 channels of one head's state, and have their output taken
// out from where x was. Only barriers join them: `full` when a chunk is ready for a group, `empty` when all are through with it, `left` when its
// output has left x's place too, and in shared memory those that count what has come.
template <bool Reverse, bool Output> struct GroupWalk : WalkBlock {
    static constexpr int Parts = N / 64, Groups = SSD_GROUPS, HeadGroups = Slice / 64;   // tiles of 64 states; groups of a head
    static_assert(Stages == 3, "a chunk at work, one made ready and one on its way");
    // without output a chunk is done before the next has come, and more on their way find room
    static constexpr int Ring = Output ? Stages : Stages + 2;
    static constexpr int InSize = Groups * SwizzledTile, KeySize = Parts * SwizzledTile, StageSize = InSize + (Output ? 2 : 1) * KeySize;
    static constexpr int TileBytes = 2 * SwizzledTile, ChunkBytes = 2 * (StageSize - InSize) + 4 * Q * (2 * Heads + Documents);

    // this group of four warps; chunks; tokens of the row that are not pads
    int four, count_, tokens;
    u16 *stages, *squares, *saved;                                                 // squares: (2, Heads), for a chunk and the next; saved: see `save`
    // landed: barriers (1 + Groups, Ring), of b, c and the steps and of a group's x
    Place stagePlace, squarePlace, numbersPlace, beginsPlace, landed;
    // (Ring, 2, Heads, Q): steps and their sums; (Ring, Heads, 2, Q) and (2, Heads, 4, Q): see `weigh`
    float *numbers, *weights, *factors;
    int* begins;
    bool active;

    __device__ __forceinline__ explicit GroupWalk(const DualArguments& arguments) : WalkBlock(arguments) {
        DYNAMIC_SHARED(u16, shared);
        stages = tiles_in(shared);
        four = warp / 4;
        count_ = static_cast<int>(steps_);
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
        active = own < count && channel < P;
    }

    __device__ __forceinline__ int chunk_of(int i) const { return static_cast<int>(Reverse ? last - 1 : begin) + (Reverse ? -i : i); }

    // tokens of a chunk that are not pads
    __device__ __forceinline__ int left_of(int chunk) const { return tokens - chunk * Q < Q ? tokens - chunk * Q : Q; }

    // barriers of the four warps that make chunks ready and a group or, `empty`, all; of a group and one of those warps; by turns. And of a group
    // alone
    __device__ __forceinline__ static int full(int four, int i) { return 2 + 2 * four + i % 2; }
    __device__ __forceinline__ static int empty(int i) { return full(Groups, i); }
    __device__ __forceinline__ static int left(int four, int i) { return full(Groups + 1 + four, i); }
    __device__ __forceinline__ static int own_barrier(int four) { return full(2 * Groups + 1, four); }

    // barriers at which x of a group has come, or what the block shares (-1)
    __device__ __forceinline__ Place landed_of(int four, int stage_) const { return landed + 4 * ((1 + four) * Ring + stage_); }

    // a place in a ring of stages, and the parity of the barriers there
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

    // ---- what makes chunks ready ----

    // by the first thread of each of the four warps: a share each
    __device__ __forceinline__ void load_ahead(int chunk, int stage_) const {
        const int own = warp % 4, token = chunk * Q, line = static_cast<int>(row), state = static_cast<int>(group * N);
        const Place to = stagePlace + (stage_ * StageSize + InSize), barrier = landed_of(-1, stage_);
        if (own == 0) expect(barrier, ChunkBytes);
        if (own < Parts) copy_tile(to + own * SwizzledTile, a.keyMap, state + own * 64, token, line, barrier);
        else if (Output && own < 2 * Parts) copy_tile(to + own * SwizzledTile, a.queryMap, state + (own - Parts) * 64, token, line, barrier);
        const int array = own / Heads, head = own % Heads < count ? own % Heads : 0;
        if (own < 2 * Heads)
            copy_in(numbersPlace + (stage_ * 2 * Heads + own) * 2 * Q,
            (array ? a.cum : a.delta) + ((row * a.heads + first + head) * a.chunks + chunk) * Q, 4 * Q, barrier);
        if (Documents && own == 3) copy_in(beginsPlace + 2 * stage_ * Q, a.begins + (row * a.chunks + chunk) * Q, 4 * Q, barrier);
        if constexpr (!Output) { if (own < Groups) load_input(own, chunk, stage_); }
    }

    // x of a group, by one thread
    __device__ __forceinline__ void load_input(int four, int chunk, int stage_) const {
        const int element = static_cast<int>((first + four / HeadGroups) * P + offset) + four % HeadGroups * 64;
        expect(landed_of(four, stage_), TileBytes);
        copy_tile(stagePlace + (stage_ * StageSize + four * SwizzledTile), a.inMap, element, chunk * Q, static_cast<int>(row),
            landed_of(four, stage_));
    }

    // the first of 8 tokens that this warp multiplies and decays: of rows of 8, the one of its number or the one of that number from the end, so that
    // all warps have as many pairs
    __device__ __forceinline__ int line_of(int half) const { return 8 * (half ? 7 - warp % 4 : warp % 4); }

    // zeros for pads of b and c, in this warp's lines
    __device__ __forceinline__ void clear(int chunk, int stage_) const {
        const int left_ = left_of(chunk);
        u16* from = stages + stage_ * StageSize + InSize;
        for (int tile = 0; tile < (StageSize - InSize) / SwizzledTile; tile++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int line = line_of(i / 2) + i % 2 * 4 + lane / 8;
                if (line >= left_) *reinterpret_cast<Word<16>*>(from + tile * SwizzledTile + line * 64 + lane % 8 * 8) = {};
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

    // For every token of the i-th chunk: what is left there of the state before the chunk, in walking order, and what is left of the token after the
    // chunk. And for pairs in different blocks of 16 tokens what is left between the later one and the edge of its block, by turns with (for each
    // later block) what is left of the earlier one at that edge: their product is the pair's decay.
    // own: at the edge of the token's block, the start or Reverse the end; edges: likewise of all blocks
    struct Tokens { float sum, last, step, own, edges[4]; };

    __device__ __forceinline__ Tokens read_sums(int stage_) const {
        const int head = threadIdx.x % 128 / Q, t = threadIdx.x % Q;
        Tokens tokens_ = {};
        if (head >= Heads) return tokens_;
        const float* sums = sums_of(stage_, head);
        tokens_.sum = sums[t];
        tokens_.last = sums[Q - 1];
        tokens_.step = steps_of(stage_, head)[t];
        if constexpr (Output) {
            tokens_.own = sums[t / 16 * 16 + (Reverse ? 15 : 0)];
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
                float* own = factors_of(i, head) + t;
                const int edge = t / 16 * 16 + (Reverse ? 15 : 0);
                const bool cut = Documents && (Reverse ? t < begins_[edge] : begins_[t] >= edge);
                own[0] = cut ? 0.f : Reverse ? exp2_approximate(of.own - of.sum) * of.step : exp2_approximate(of.sum - of.own);
                // also of blocks that are not later, which nobody reads
#pragma unroll
                for (int block = 1; block < 4; block++) {
                    const bool cut = Documents && (Reverse ? begins_[t] >= 16 * block : t < begins_[16 * block - 1]);
                    own[block * Q] = cut ? 0.f : Reverse ? exp2_approximate(of.sum - of.edges[block])
                        : exp2_approximate(of.edges[block] - of.sum) * of.step;
                }
            }
        }
        if constexpr (Documents) sync_warp();
        meet(1, 128);
    }

    // c b^T, outputs this warp's lines
    __device__ __forceinline__ void start_square(float (&products)[32], int stage_) const {
        const Place key = stagePlace + (stage_ * StageSize + InSize), query = key + KeySize;
        const int line = line_of(lane / 8 % 2) + lane % 8;
        unsigned lines[4 * Parts][4];
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++) load_blocks<false>(lines[k], query + (k / 4 * SwizzledTile + swizzled(line, k % 4 * 16 + lane / 16 * 8)));
        open_products();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++) start_product<false>(products, lines[k], operand(key + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
        close_products();
    }

    // Decayed products of both rows, for the warp of number Own, with the tokens they take from; other places of the tile hold zeros from the start
    // on. Everything is loaded before the first is written.
    template <int Own> __device__ __forceinline__ void decayed(
        const float (&products)[32], u16* square, int i, int stage_, int head, float skip) const {
        const float *sums = sums_of(stage_, head), *steps_ = steps_of(stage_, head), *rows = factors_of(i, head);
        float row[2], sum[2], step[2];
        Two others[2][8], nearSteps[2][8];
        int begin_[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int own = half ? 7 - Own : Own, block = own / 2, line = 8 * own + r;
            row[half] = rows[line];
            sum[half] = sums[line];
            if constexpr (Reverse) step[half] = steps_[line];
            if constexpr (Documents && !Reverse) begin_[half] = begins[stage_ * Q + line];
#pragma unroll
            for (int n = 0; n < 8; n++) {
                if (Reverse ? n < own : n > own) continue;
                others[half][n] = pair_of(n / 2 == block ? sums : rows + (block + Reverse) * Q, 8 * n + 2 * q);
                if (n / 2 == block && !Reverse) nearSteps[half][n] = pair_of(steps_, 8 * n + 2 * q);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int own = half ? 7 - Own : Own, line = 8 * own + r;
            u16* to = square + line * 64 + 2 * q;
#pragma unroll
            for (int n = 0; n < 8; n++) {
                if (Reverse ? n < own : n > own) continue;
                const Two other = others[half][n];
                float values[2] = {products[4 * n + 2 * half], products[4 * n + 2 * half + 1]};
                if (n / 2 == own / 2) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int from = 8 * n + 2 * q + e;
                        const float sum_ = e ? other.y : other.x;
                        values[e] *= exp2_approximate(Reverse ? sum_ - sum[half] : sum[half] - sum_) * (
                            Reverse ? step[half] : e ? nearSteps[half][n].y : nearSteps[half][n].x);
                        bool cut = n == own && (Reverse ? from < line : from > line);
                        if constexpr (Documents) cut |= Reverse ? line < begins[stage_ * Q + from] : from < begin_[half];
                        if (cut) values[e] = 0;
                        if (n == own && from == line) values[e] += skip;
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
            for (int head = 0; head < Heads; head++) skips[head] = a.skip && head < count ? a.skip[first + head] : 0.f;
            for (int i = threadIdx.x % 128; i < Heads * SwizzledTile; i += 128) reinterpret_cast<unsigned*>(squares)[i] = 0;
        }
        const bool loads = lane == 0, pads = valid < a.length;
        // the group whose x this warp has brought in, where its place is left later than the rest
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
            // the copies that find room in the place of the chunk before
            if (i > 0 && i + 1 < count_) meet(empty(i - 1), WalkThreads);
            if (loads && i + Ring - 1 < count_) load_ahead(chunk_of(i + Ring - 1), turn.before());
            sync_warp();
        }
    }

    // ---- what keeps the state ----

    // x of a chunk, this warp's 16 channels, from its tile; zeros for pads
    __device__ __forceinline__ void read_input(unsigned (&inputs)[4][4], Place in, int left_) const {
#pragma unroll
        for (int k = 0; k < 4; k++) load_blocks<true>(inputs[k], in + swizzled(16 * k + lane % 8 + lane / 16 * 8, warp % 4 * 16 + lane / 8 % 2 * 8));
        if (left_ < Q)
#pragma unroll
            for (int k = 0; k < 4; k++)
#pragma unroll
                for (int word = 0; word < 4; word++) {
                    const int t = 16 * k + word / 2 * 8 + 2 * q;
                    inputs[k][word] = t + 1 < left_ ? inputs[k][word] : t < left_ ? inputs[k][word] & 0xffff : 0;
                }
    }

    // this warp's output, rounded, where its inputs were; zeros for pads, whatever the state is
    __device__ __forceinline__ void turn_output(float (&sums)[32], Place tile, int left_) const {
        if (left_ < Q)
#pragma unroll
            for (int i = 0; i < 32; i++)
                if (i / 4 * 8 + 2 * q + i % 2 >= left_) sums[i] = 0;
#pragma unroll
        for (int n = 0; n < 8; n += 2) {
            unsigned words[4];
#pragma unroll
            for (int i = 0; i < 4; i++) words[i] = round_to_bfloat16_pair(sums[4 * (n + i / 2) + i % 2 * 2], sums[4 * (n + i / 2) + i % 2 * 2 + 1]);
            store_blocks<true>(tile + swizzled(8 * n + lane / 16 * 8 + lane % 8, warp % 4 * 16 + lane / 8 % 2 * 8), words);
        }
    }

    // the state before the chunk, for the pairs kernel: this warp's 16 rows through shared memory
    __device__ __forceinline__ void save(const unsigned (&operands)[4 * Parts][4], int chunk) const {
        const Place own_ = place_of(saved + warp * 16 * (N + 8));
        copied_out();
        sync_warp();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++) store_blocks<false>(own_ + ((lane % 16) * (N + 8) + 16 * k + lane / 16 * 8), operands[k]);
        publish();
        sync_warp();
        if (active && lane < 16)
            copy_out(static_cast<Element*>(a.states) + ((((row - a.firstRow) * a.chunks + chunk) * a.heads + first + own) * P + channel + lane) * N,
                own_ + lane * (N + 8), 2 * N);
    }

    // calls back with (part, register, place) of every number of the state that this thread holds
    template <class Each> __device__ __forceinline__ void each(Each&& action) const {
        if (!active) return;
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int i = 0; i < 32; i++) action(part, i, (channel + r + i % 4 / 2 * 8) * N + part * 64 + i / 4 * 8 + 2 * q + i % 2);
    }

    __device__ __forceinline__ void consume() const {
        float state[Parts][32] = {};
        if (a.incoming) {
            const float* from = a.incoming + state_at(a.segments);
            each([&](int part, int i, int at) { state[part][i] = from[at]; });
        }
        // Where memory is what bounds the walk, as it is when states are kept, b and c that come earlier than x give nothing, and take their turn in
        // memory from what is waited for.
        const bool late = Output && a.states;
        Turn turn;
        for (int i = 0; i < count_; i++, turn.next()) {
            const int stage_ = turn.stage, left_ = left_of(chunk_of(i));
            const Place in = stagePlace + (stage_ * StageSize + four * SwizzledTile), key = stagePlace + (stage_ * StageSize + InSize),
                query = key + KeySize;
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
            unsigned inputs[4][4], weighted[4][4];
            wait_for_copies(landed_of(four, stage_), turn.parity);
            read_input(inputs, in, left_);
            meet(full(four, i), 256);
            // in the order they are started: the state's part of the output, the new state, the chunk's own part
            float output[32];
            if constexpr (Output) {
                open_products();
#pragma unroll
                for (int k = 0; k < 4 * Parts; k++)
                    start_product<false>(output, operands[k], operand(query + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
                close_products();
            }
            const float *before = before_of(stage_, own), *after = after_of(stage_, own), kept = (Reverse ? after : before)[Q - 1];
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
            if constexpr (Output) {
                copied_out();
                if (i > 0 && i + 2 < count_) arrive(left(four, i - 1), 160);
                if (late && i > 0 && i + 1 < count_) arrive(empty(i - 1), WalkThreads);
            }
            if (a.states) save(operands, chunk_of(i));
            if constexpr (Output) {
                wait_for_products<1>();
                settle(output);
#pragma unroll
                for (int n = 0; n < 8; n++) {
                    const Two still = pair_of(before, 8 * n + 2 * q);
#pragma unroll
                    for (int e = 0; e < 4; e++) output[4 * n + e] *= e % 2 ? still.y : still.x;
                }
                const Place square = squarePlace + (i % 2 * Heads + own) * SwizzledTile;
                open_products();
#pragma unroll
                for (int k = 0; k < 4; k++) start_product<false>(output, inputs[k], operand(square, 0, 16 * k), true);
                close_products();
            }
            wait_for_products<0>();
            if constexpr (Output) settle(output);
#pragma unroll
            for (int part = 0; part < Parts; part++) settle(state[part]);
            if (!late && i + 2 < count_) arrive(empty(i), WalkThreads);
            if constexpr (Output) {
                turn_output(output, in, left_);
                publish();
                meet(own_barrier(four), 128);
                if (threadIdx.x % 128 == 0 && active)
                    copy_tile_out(a.outMap, static_cast<int>((first + own) * P) + channel, chunk_of(i) * Q, static_cast<int>(row), in);
                sync_warp();
            }
        }
        copied_out();
        if constexpr (Output) clear_pads();
        if (a.outgoing && (a.outgoingSegments > 1 || segment == (Reverse ? 0 : a.segments - 1))) {
            float* to = a.outgoing + state_at(a.outgoingSegments);
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

// Gradients of b, c and the time steps: as Pairs. A group of four warps owns 64 states and, of the chunk's 64 x 64 pairs, as many columns as its
// share.
struct GroupPairs {
    static constexpr int Parts = N / 64, Columns = 64 / Parts, Count = Columns / 2, Size = 2 * SwizzledTile + 2 * Parts * SwizzledTile,
        PerHead = P / 64;
    static constexpr int UnitBytes = 2 * Size + 8 * Q, ChunkBytes = 4 * Parts * SwizzledTile + 4 * Documents * Q;
    // Partial sums: rows, through c and through b (Parts, Q) each, columns (4, Q), the diagonal (Q), inner products and that of the skip (warps)
    // each, and the steps (Q) and what is left over the chunk. Twice: a head's are added up while the next head is at work.
    static constexpr int RowSums = 0, QuerySums = Parts * Q, KeySums = 2 * Parts * Q, ColumnSums = 3 * Parts * Q, Diagonal = ColumnSums + 4 * Q,
        InnerSums = Diagonal + Q,
        SkipSums = InnerSums + 4 * Parts, Deltas = SkipSums + 4 * Parts, Last = Deltas + Q, SumsSize = Last + 4;

    const DualArguments& a;
    i64 row, chunk, projection, first, count, split_, valid, begin;
    int warp, lane, r, q, group, line;                                              // line: this thread's first row, the other one is 8 further on
    u16 *keys, *queries, *stages;
    Place keyPlace, queryPlace, stagePlace, numbersPlace, landed;                   // landed: barriers, of the stages and of b and c
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
        numbersPlace = place_of(reinterpret_cast<u16*>(numbers));
        landed = place_of(reinterpret_cast<u16*>(begins + Q));
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

    // by the first thread of each warp: a share each
    __device__ __forceinline__ void load_ahead(int unit, int stage_) const {
        const i64 head = first + unit / PerHead;
        const int offset = unit % PerHead * 64, element = static_cast<int>(head * P) + offset,
            state = static_cast<int>((chunk * a.heads + head) * P) + offset, token = static_cast<int>(begin);
        const Place to = stagePlace + (stage_ * Size + warp * SwizzledTile), barrier = landed + 4 * stage_;
        if (warp == 0) expect(barrier, UnitBytes);
        if (warp == 0) copy_tile(to, a.inMap, element, token, static_cast<int>(row), barrier);
        else if (warp == 1) copy_tile(to, a.gradientMap, element, token, static_cast<int>(row), barrier);
        else if (warp < 2 + Parts) copy_tile(to, a.statesMap, (warp - 2) * 64, state, static_cast<int>(row - a.firstRow), barrier);
        else if (warp < 2 + 2 * Parts) copy_tile(to, a.backStatesMap, (warp - 2 - Parts) * 64, state, static_cast<int>(row - a.firstRow), barrier);
        const int array = warp - (PairWarps - 2);
        if (array >= 0)
            copy_in(numbersPlace + (stage_ * 2 + array) * 2 * Q, (array ? a.cum : a.delta) + ((row * a.heads + head) * a.chunks + chunk) * Q, 4 * Q,
            barrier);
    }

    // zeros for pads, in neighbouring tiles
    __device__ __forceinline__ void clear(u16* tiles, int count_, int left_) const {
        for (int tile = 0; tile < count_; tile++)
            for (int i = threadIdx.x; i < (Q - left_) * 8; i += PairThreads)
                *reinterpret_cast<Word<16>*>(tiles + tile * SwizzledTile + left_ * 64 + 8 * i) = {};
        publish();
        sync_warp();
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
    __device__ __forceinline__ void gather(
        const float (&part)[32], const u16* tile, const float (&weights)[2], float (&into)[32], float (&through)[2]) const {
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
    __device__ __forceinline__ void finish_head(
        const float (&outer)[Count], const float (&products)[Count], float (&dSquare)[Count], const float* delta, const float* cum,
        float* sums) const {
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
            for (int i = 0; i < Parts; i++) { rows += own[RowSums + i * Q + t]; query += own[QuerySums + i * Q + t];
                key += own[KeySums + i * Q + t]; }
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
        float dKey[32] = {}, dQuery[32] = {}, dSquare[Count] = {}, products[Count], outer[Count];
        if (begin >= valid || count == 0) {
            finish(dKey, dQuery);
            for (i64 i = threadIdx.x; i < count; i += PairThreads) a.diagonal[(row * a.chunks + chunk) * a.heads + first + i] = 0;
            return;
        }
        // Q also where pads are outside of the tensor
        const int left_ = valid - begin < Q && valid < a.length ? static_cast<int>(valid - begin) : Q, units = static_cast<int>(count) * PerHead;
        if (threadIdx.x == 0)
            for (int i = 0; i <= PairStages; i++) open_barrier(landed + 4 * i, 1);
        __syncthreads();
        const Place barrier = landed + 4 * PairStages;
        if (threadIdx.x == 0) {
            expect(barrier, ChunkBytes);
#pragma unroll
            for (int part = 0; part < Parts; part++) {
                copy_tile(keyPlace + part * SwizzledTile, a.keyMap, static_cast<int>(projection * N) + part * 64, static_cast<int>(begin),
                    static_cast<int>(row), barrier);
                copy_tile(queryPlace + part * SwizzledTile, a.queryMap, static_cast<int>(projection * N) + part * 64, static_cast<int>(begin),
                    static_cast<int>(row), barrier);
            }
            if constexpr (Documents) copy_in(place_of(reinterpret_cast<u16*>(begins)), a.begins + (row * a.chunks + chunk) * Q, 4 * Q, barrier);
        }
        if (lane == 0)
#pragma unroll
            for (int i = 0; i < PairStages - 1; i++)
                if (i < units) load_ahead(i, i);
        sync_warp();
        wait_for_copies(barrier, 0);
        if (left_ < Q) {
            clear(keys, 2 * Parts, left_);
            __syncthreads();
        }
        open_products();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++)
            start_product<false>(products, operand(queryPlace + k / 4 * SwizzledTile, 0, k % 4 * 16),
                operand(keyPlace + k / 4 * SwizzledTile, group * Columns, k % 4 * 16), k > 0);
        close_products();
        wait_for_products<0>();
        settle(products);
        float inner = 0, throughQuery[2] = {}, throughKey[2] = {};
        int stage_ = 0, next = PairStages - 1;
        unsigned parity = 0;
        for (int unit = 0; unit < units; unit++) {
            wait_for_copies(landed + 4 * stage_, parity);
            if (left_ < Q) clear(stages + stage_ * Size, 2, left_);
            __syncthreads();
            if (lane == 0 && unit + PairStages - 1 < units) load_ahead(unit + PairStages - 1, next);
            sync_warp();
            if (unit > 0 && unit % PerHead == 0) add_up(unit / PerHead - 1);
            const bool begins_head = PerHead == 1 || unit % PerHead == 0, ends_head = PerHead == 1 || unit % PerHead == PerHead - 1;
            const Place in = stagePlace + stage_ * Size, gradient = in + SwizzledTile, state = in + (2 + group) * SwizzledTile,
                back = in + (2 + Parts + group) * SwizzledTile;
            const float *delta = numbers + stage_ * 2 * Q, *cum = delta + Q;
            open_products();
            float forQuery[32], forKey[32];
#pragma unroll
            for (int k = 0; k < 4; k++) start_product<true>(forQuery, operand(gradient, 0, 16 * k), operand(state, 16 * k, 0), k > 0);
            close_products();
#pragma unroll
            for (int k = 0; k < 4; k++) start_product<true>(forKey, operand(in, 0, 16 * k), operand(back, 16 * k, 0), k > 0);
#pragma unroll
            for (int k = 0; k < 4; k++)
                start_product<false>(outer, operand(gradient, 0, 16 * k), operand(in, group * Columns, 16 * k), !begins_head || k > 0);
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
                float* own = sums + unit / PerHead % 2 * SumsSize;
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
            parity ^= stage_ == 0;
            next = next + 1 < PairStages ? next + 1 : 0;
        }
        // what the heads' pairs gave together, times b and c once
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
        for (int k = 0; k < 4; k++)
            start_product<true>(dQuery, operand(stagePlace, 0, 16 * k), operand(keyPlace + group * SwizzledTile, 16 * k, 0), true);
#pragma unroll
        for (int k = 0; k < 4; k++)
            start_product<true>(dKey, operand(stagePlace + SwizzledTile, 0, 16 * k), operand(queryPlace + group * SwizzledTile, 16 * k, 0), true);
        close_products();
        wait_for_products<0>();
        settle(dQuery);
        settle(dKey);
        finish(dKey, dQuery);
    }
};
