// The walk and the pairs of StateSpaceDual.cu for compute capability 9.0a: four warps own 64 channels of one head and multiply together (wgmma), reading b, c and the decayed pairs straight from
// shared memory, so that registers hold sums alone: the state (64 x N), an output of 64 x 64, and the state as an operand. A chunk has 64 tokens.
#pragma once

// 64 rows of 64 elements into a tile, by Count threads; zeros from row `left_` on
template <int Count> __device__ __forceinline__ void stage_tile(Place tile, const Element* from, i64 stride, int left_, int thread) {
    constexpr int Step = Count / 8;
    const int line = thread / 8, piece = thread % 8;
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

// The last four warps of a block copy chunks, multiply c and b and decay the pairs for all its heads, a chunk ahead of the others: groups of four warps that each keep 64 channels of
// one head's state. Only barriers join them: `full` when a chunk is ready for a group, `empty` when the group is through with it.
template <bool Reverse, bool Output> struct GroupWalk : WalkBlock {
    static constexpr int Parts = N / 64, Groups = SSD_GROUPS, HeadGroups = Slice / 64;   // tiles of 64 states; groups of a head
    static_assert(Stages == 3, "a chunk at work, one made ready and one on its way");
    static constexpr int InSize = Groups * SwizzledTile, KeySize = Parts * SwizzledTile, StageSize = InSize + (Output ? 2 : 1) * KeySize;

    int four;                                                                      // this group of four warps
    u16 *stages, *squares, *saved;                                                 // squares: (2, Heads), for a chunk and the next; saved: see `save`
    Place stagePlace, squarePlace;
    float *numbers, *weights, *factors;                                            // (Stages, 2, Heads, Q): steps and their sums; (2, Heads, 2, Q) and (Heads, 4, Q): see `weigh`
    int* begins;
    bool active;

    __device__ __forceinline__ explicit GroupWalk(const DualArguments& arguments) : WalkBlock(arguments) {
        DYNAMIC_SHARED(u16, shared);
        stages = tiles_in(shared);
        four = warp / 4;
        squares = stages + Stages * StageSize;
        saved = squares + (Output ? 2 * Heads * SwizzledTile : 0);
        numbers = reinterpret_cast<float*>(saved + Groups * 64 * (N + 8));
        weights = numbers + Stages * 2 * Heads * Q;
        factors = weights + 4 * Heads * Q;
        begins = reinterpret_cast<int*>(factors + (Output ? 4 * Heads * Q : 0));
        stagePlace = place_of(stages);
        squarePlace = place_of(squares);
        active = own < count && channel < P;
    }

    __device__ __forceinline__ i64 chunk_of(i64 i) const { return Reverse ? last - 1 - i : begin + i; }

    // barriers of a group and the four warps that make chunks ready, by turns
    __device__ __forceinline__ static int full(int four, i64 i) { return 2 + 2 * four + static_cast<int>(i % 2); }
    __device__ __forceinline__ static int empty(int four, i64 i) { return full(Groups + four, i); }

    // ---- what makes chunks ready ----

    __device__ __forceinline__ void load_ahead(i64 chunk, int stage_) const {
        const int thread = threadIdx.x % 128;
        const i64 begin = chunk * Q, rest = valid - begin;
        const int left_ = rest < Q ? static_cast<int>(rest) : Q;
        const Place to = stagePlace + stage_ * StageSize;
        const Element* in = static_cast<const Element*>(a.in) + row * a.inRow + begin * a.inToken + first * P + offset;
#pragma unroll
        for (int g = 0; g < Groups; g++) {
            const int head = g / HeadGroups, p = g % HeadGroups * 64;
            stage_tile<128>(to + g * SwizzledTile, in + (head * P + p), a.inToken, head < count && offset + p < P ? left_ : 0, thread);
        }
        const Element* key = static_cast<const Element*>(a.key) + row * a.keyRow + begin * a.keyToken + group * N;
#pragma unroll
        for (int part = 0; part < Parts; part++) stage_tile<128>(to + (InSize + part * SwizzledTile), key + part * 64, a.keyToken, left_, thread);
        if constexpr (Output) {
            const Element* query = static_cast<const Element*>(a.query) + row * a.queryRow + begin * a.queryToken + group * N;
#pragma unroll
            for (int part = 0; part < Parts; part++) stage_tile<128>(to + (InSize + KeySize + part * SwizzledTile), query + part * 64, a.queryToken, left_, thread);
        }
        const float* from = a.delta + ((row * a.heads + first) * a.chunks + chunk) * Q;
        const i64 cum = a.cum - a.delta, next = a.chunks * Q, last = count - 1;
        stage_numbers<2 * Heads, 128>(numbers + stage_ * 2 * Heads * Q, thread, [=](int i) { return from + (i / Heads ? cum : 0) + (i % Heads < last ? i % Heads : last) * next; });
        if constexpr (Documents) {
            const float* begins_ = reinterpret_cast<const float*>(a.begins) + (row * a.chunks + chunk) * Q;
            stage_numbers<1, 128>(reinterpret_cast<float*>(begins + stage_ * Q), thread, [=](int) { return begins_; });
        }
    }

    __device__ __forceinline__ const float* steps_of(int stage_, int head) const { return numbers + (stage_ * 2 * Heads + head) * Q; }
    __device__ __forceinline__ const float* sums_of(int stage_, int head) const { return numbers + ((stage_ * 2 + 1) * Heads + head) * Q; }

    __device__ __forceinline__ float* before_of(i64 i, int head) const { return weights + (i % 2 * Heads + head) * 2 * Q; }
    __device__ __forceinline__ float* after_of(i64 i, int head) const { return before_of(i, head) + Q; }

    // For every token of the i-th chunk: what is left there of the state before the chunk, in walking order, and what is left of the token after the chunk. And for pairs in
    // different blocks of 16 tokens what is left between the later one and the edge of its block, by turns with (for each later block) what is left of the earlier one at that edge:
    // their product is the pair's decay.
    __device__ __forceinline__ void weigh(int stage_, i64 i) const {
        const int head = threadIdx.x % 128 / Q, t = threadIdx.x % Q;
        if (head >= Heads) return;
        const float *sums = sums_of(stage_, head), sum = sums[t], step = steps_of(stage_, head)[t];
        float from = exp2_approximate(sum), to = exp2_approximate(sums[Q - 1] - sum);
        if constexpr (Documents) {
            if (begins[stage_ * Q + t] >= 0) from = 0;
            if (t < begins[stage_ * Q + Q - 1]) to = 0;
        }
        before_of(i, head)[t] = Reverse ? to * step : from;
        after_of(i, head)[t] = Reverse ? from : to * step;
        if constexpr (Output) {
            float* own = factors + head * 4 * Q + t;
            const int* begins_ = begins + stage_ * Q;
            const int within = t / 16, edge = 16 * within + (Reverse ? 15 : 0);
            const bool cut = Documents && (Reverse ? t < begins_[edge] : begins_[t] >= edge);
            own[0] = cut ? 0.f : Reverse ? exp2_approximate(sums[edge] - sum) * step : exp2_approximate(sum - sums[edge]);
#pragma unroll
            for (int block = 1; block < 4; block++) {
                if (Reverse ? within < block : within >= block) continue;
                const bool cut = Documents && (Reverse ? begins_[t] >= 16 * block : t < begins_[16 * block - 1]);
                own[block * Q] = cut ? 0.f : Reverse ? exp2_approximate(sum - sums[16 * block - 1]) : exp2_approximate(sums[16 * block] - sum) * step;
            }
        }
    }

    // Decayed products of this warp's 16 rows, outputs, with the tokens they take from; other places of the tile hold zeros from the start on. Everything is loaded before the first is written.
    __device__ __forceinline__ void decayed(const float (&products)[32], u16* square, int stage_, int head, float skip) const {
        const int own = warp % 4, line = 16 * own + r;
        const float *sums = sums_of(stage_, head) + 16 * own, *steps_ = steps_of(stage_, head) + 16 * own, *rows = factors + head * 4 * Q, *columns = rows + (own + Reverse) * Q;
        const float row[2] = {rows[line], rows[line + 8]}, sum[2] = {sums[r], sums[r + 8]}, step[2] = {Reverse ? steps_[r] : 1.f, Reverse ? steps_[r + 8] : 1.f};
        Two others[8], near[2], nearSteps[2];
#pragma unroll
        for (int n = 0; n < 8; n++) others[n] = pair_of(columns, 8 * n + 2 * q);
#pragma unroll
        for (int n = 0; n < 2; n++) {
            near[n] = pair_of(sums, 8 * n + 2 * q);
            nearSteps[n] = Reverse ? Two{1, 1} : pair_of(steps_, 8 * n + 2 * q);
        }
        u16* to = square + line * 64 + 2 * q;
#pragma unroll
        for (int n = 0; n < 8; n++) {
            if (Reverse ? n / 2 < own : n / 2 > own) continue;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float values[2];
                if (n / 2 == own) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int from = 8 * (n % 2) + 2 * q + e, apart = from - r - 8 * half;
                        const float other = e ? near[n % 2].y : near[n % 2].x;
                        bool cut = Reverse ? apart < 0 : apart > 0;
                        if constexpr (Documents) cut |= Reverse ? line + 8 * half < begins[stage_ * Q + 16 * own + from] : 16 * own + from < begins[stage_ * Q + line + 8 * half];
                        values[e] = products[4 * n + 2 * half + e] * (exp2_approximate(Reverse ? other - sum[half] : sum[half] - other) * (Reverse ? step[half] : e ? nearSteps[n % 2].y : nearSteps[n % 2].x));
                        if (cut) values[e] = 0;
                        if (n % 2 == half && apart == 0) values[e] += skip;
                    }
                } else {
                    values[0] = products[4 * n + 2 * half] * row[half] * others[n].x;
                    values[1] = products[4 * n + 2 * half + 1] * row[half] * others[n].y;
                }
                *reinterpret_cast<unsigned*>(to + half * 8 * 64 + (n ^ r) * 8) = round_to_bfloat16_pair(values[0], values[1]);
            }
        }
    }

    __device__ __forceinline__ void produce() const {
        float skips[Heads] = {};
        if constexpr (Output) {
#pragma unroll
            for (int head = 0; head < Heads; head++) skips[head] = a.skip && head < count ? a.skip[first + head] : 0.f;
            for (int i = threadIdx.x % 128; i < Heads * SwizzledTile; i += 128) reinterpret_cast<unsigned*>(squares)[i] = 0;
        }
        int stage_ = 0, next = 1;
        // the next chunk's copies, once its place has been left
        auto ahead = [&](i64 i) {
            if (i > 1)
#pragma unroll
                for (int g = 0; g < Groups; g++) meet(empty(g, i), 256);
            if (i + 1 < steps_) load_ahead(chunk_of(i + 1), next);
            copy_commit();
        };
        if (steps_ > 0) load_ahead(chunk_of(0), 0);
        copy_commit();
        for (i64 i = 0; i < steps_; i++) {
            if constexpr (!Output) ahead(i);
            copy_wait<Output ? 0 : 1>();
            publish();
            meet(1, 128);
            if constexpr (Output) {
                float products[32];
                const Place key = stagePlace + (stage_ * StageSize + InSize), query = key + KeySize;
                open_products();
#pragma unroll
                for (int k = 0; k < 4 * Parts; k++)
                    start_product<false>(products, operand(query + k / 4 * SwizzledTile, 0, k % 4 * 16), operand(key + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
                close_products();
                ahead(i);
                weigh(stage_, i);
                meet(1, 128);
                wait_for_products<0>();
                settle(products);
#pragma unroll
                for (int head = 0; head < Heads; head++) {
                    decayed(products, squares + (i % 2 * Heads + head) * SwizzledTile, stage_, head, skips[head]);
                    publish();
#pragma unroll
                    for (int g = 0; g < HeadGroups; g++) arrive(full(head * HeadGroups + g, i), 256);
                }
            } else {
                weigh(stage_, i);
                meet(1, 128);                                                       // to arrive would do, but a checker of races does not know that
#pragma unroll
                for (int g = 0; g < Groups; g++) arrive(full(g, i), 256);
            }
            stage_ = stage_ + 1 < Stages ? stage_ + 1 : 0;
            next = next + 1 < Stages ? next + 1 : 0;
        }
        copy_wait<0>();
    }

    // ---- what keeps the state ----

    // this warp's output, rounded, through its part of the tile its inputs came in: 8 channels of four tokens a thread
    __device__ __forceinline__ void turn(const float (&sums)[32], u16* tile, Raw<bfloat16, 8> (&pieces)[4]) const {
        const Place place = place_of(tile);
#pragma unroll
        for (int n = 0; n < 8; n += 2) {
            unsigned words[4];
#pragma unroll
            for (int i = 0; i < 4; i++) words[i] = round_to_bfloat16_pair(sums[4 * (n + i / 2) + i % 2 * 2], sums[4 * (n + i / 2) + i % 2 * 2 + 1]);
            store_blocks<true>(place + swizzled(8 * n + lane / 16 * 8 + lane % 8, warp % 4 * 16 + lane / 8 % 2 * 8), words);
        }
        sync_warp();
#pragma unroll
        for (int i = 0; i < 4; i++) pieces[i] = load_raw<bfloat16, 8>(tile, swizzled(16 * i + lane / 16 * 8 + lane % 8, warp % 4 * 16 + lane / 8 % 2 * 8));
    }

    __device__ __forceinline__ void write(const Raw<bfloat16, 8> (&pieces)[4], i64 begin) const {
        const int left_ = valid - begin < Q ? static_cast<int>(valid - begin) : Q, rows = a.length - begin < Q ? static_cast<int>(a.length - begin) : Q;
        const i64 token = a.heads * P;
        int t = lane / 16 * 8 + lane % 8;
        Element* at = static_cast<Element*>(a.out) + ((row * a.length + begin + t) * a.heads + first + own) * P + channel + lane / 8 % 2 * 8;
#pragma unroll
        for (int i = 0; i < 4; i++, t += 16, at += 16 * token)
            if (active && t < rows) *reinterpret_cast<Word<16>*>(at) = t < left_ ? pieces[i].bits : Word<16>{};
    }

    // the state before the chunk, for the pairs kernel: this warp's 16 rows through shared memory
    __device__ __forceinline__ void save(const unsigned (&operands)[4 * Parts][4], i64 chunk) const {
        const Place own_ = place_of(saved + warp * 16 * (N + 8));
        copied_out();
        sync_warp();
#pragma unroll
        for (int k = 0; k < 4 * Parts; k++) store_blocks<false>(own_ + ((lane % 16) * (N + 8) + 16 * k + lane / 16 * 8), operands[k]);
        publish();
        sync_warp();
        if (active && lane < 16)
            copy_out(static_cast<Element*>(a.states) + ((((row - a.firstRow) * a.chunks + chunk) * a.heads + first + own) * P + channel + lane) * N, own_ + lane * (N + 8), 2 * N);
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
        int stage_ = 0;
        Raw<bfloat16, 8> pieces[4];
        for (i64 i = 0; i < steps_; i++) {
            const int tile = stage_ * StageSize + four * SwizzledTile;
            const Place in = stagePlace + tile, key = stagePlace + (stage_ * StageSize + InSize), query = key + KeySize;
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
            meet(full(four, i), 256);
            // in the order they are started: the state's part of the output, the new state, the chunk's own part
            float output[32];
            if constexpr (Output) {
                open_products();
#pragma unroll
                for (int k = 0; k < 4 * Parts; k++) start_product<false>(output, operands[k], operand(query + k / 4 * SwizzledTile, 0, k % 4 * 16), k > 0);
                close_products();
            }
            unsigned inputs[4][4], weighted[4][4];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const int line = 16 * k + lane % 8 + lane / 16 * 8;
                load_blocks<true>(inputs[k], in + swizzled(line, warp % 4 * 16 + lane / 8 % 2 * 8));
            }
            const float *before = before_of(i, own), *after = after_of(i, own), kept = (Reverse ? after : before)[Q - 1];
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
            if (a.states) save(operands, chunk_of(i));
            if constexpr (Output) {
                if (i > 0) write(pieces, chunk_of(i - 1) * Q);
                wait_for_products<1>();
                settle(output);
#pragma unroll
                for (int n = 0; n < 8; n++) {
                    const Two left_ = pair_of(before, 8 * n + 2 * q);
#pragma unroll
                    for (int e = 0; e < 4; e++) output[4 * n + e] *= e % 2 ? left_.y : left_.x;
                }
                const Place square = squarePlace + (static_cast<int>(i % 2) * Heads + own) * SwizzledTile;
                open_products();
#pragma unroll
                for (int k = 0; k < 4; k++) start_product<false>(output, inputs[k], operand(square, 0, 16 * k), true);
                close_products();
                wait_for_products<0>();
                settle(output);
                turn(output, stages + tile, pieces);
            }
            wait_for_products<0>();
#pragma unroll
            for (int part = 0; part < Parts; part++) settle(state[part]);
            if (i + 2 < steps_) arrive(empty(four, i), 256);
            stage_ = stage_ + 1 < Stages ? stage_ + 1 : 0;
        }
        if (a.states) copied_out();
        if constexpr (Output) { if (steps_ > 0) write(pieces, chunk_of(steps_ - 1) * Q); }
        if constexpr (Output) clear_pads();
        if (a.outgoing && (a.outgoingSegments > 1 || segment == (Reverse ? 0 : a.segments - 1))) {
            float* to = a.outgoing + state_at(a.outgoingSegments);
            each([&](int part, int i, int at) { to[at] = state[part][i]; });
        }
    }

    __device__ __forceinline__ void run() const {
        if (four == Groups) {
            if constexpr (Groups == 2) lower_registers<120>();
            produce();
        } else {
            if constexpr (Groups == 2) raise_registers<192>();
            consume();
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
        stage_tile<PairThreads>(to, static_cast<const Element*>(a.in) + row * a.inRow + begin * a.inToken + head * P + offset, a.inToken, left_, threadIdx.x);
        stage_tile<PairThreads>(to + SwizzledTile, static_cast<const Element*>(a.gradient) + row * a.gradientRow + begin * a.gradientToken + head * P + offset, a.gradientToken, left_, threadIdx.x);
        const i64 state = ((((row - a.firstRow) * a.chunks + chunk) * a.heads + head) * P + offset) * N;
#pragma unroll
        for (int part = 0; part < Parts; part++) {
            stage_tile<PairThreads>(to + (2 + part) * SwizzledTile, static_cast<const Element*>(a.states) + state + part * 64, N, 64, threadIdx.x);
            stage_tile<PairThreads>(to + (2 + Parts + part) * SwizzledTile, static_cast<const Element*>(a.backStates) + state + part * 64, N, 64, threadIdx.x);
        }
        const float* from = a.delta + ((row * a.heads + head) * a.chunks + chunk) * Q;
        const i64 cum = a.cum - a.delta;
        stage_numbers<2, PairThreads>(numbers + stage_ * 2 * Q, threadIdx.x, [=](int array) { return from + (array ? cum : 0); });
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
                stage_tile<PairThreads>(keyPlace + part * SwizzledTile, key + part * 64, a.keyToken, left_, threadIdx.x);
                stage_tile<PairThreads>(queryPlace + part * SwizzledTile, query + part * 64, a.queryToken, left_, threadIdx.x);
            }
            if constexpr (Documents) {
                const float* begins_ = reinterpret_cast<const float*>(a.begins) + (row * a.chunks + chunk) * Q;
                stage_numbers<1, PairThreads>(reinterpret_cast<float*>(begins), threadIdx.x, [=](int) { return begins_; });
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
