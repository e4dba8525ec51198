// Gradients of softmax attention on compute capability 9.0 (wgmma, copy engine), bfloat16. With P the probabilities, made again from scores and the
// logarithms of their sums:
//   dV = P^T dO,  dP = dO V^T,  dS = P (dP - delta),  delta = sum over a head of O dO,  dQ = scale dS K,  dK = scale dS^T Q.
//
// `prepare` makes delta. `attention_backward`: a block owns 64 keys of one key head for each of its Groups groups of four warps, goes through the
// query heads that share them and through the
// queries that see them, 64 or 128 at a time, and keeps dK and dV in registers. Scores are multiplied transposed (64 keys by the queries), so that
// P^T and dS^T are left operands as they stand.
// dS goes through shared memory, and each group multiplies a part of dQ by all keys of the block. A block's part of dQ is added in global memory in
// float32, in the order of the blocks of keys:
// two warps, by turns, wait until the block before has added (blocks take numbers in that order when they begin, so that none waits for one that has
// not begun). `finish` rounds dQ.
// Registers: scores and dP of 64 keys (half the queries each), dK (D / 2), dV (E / 2), a part of dQ. Shared memory: keys, values, two tiles of
// queries and of dO, two of dS, one of dQ in float32.
//
// What it must do, B4, 32 query heads over 8 of keys, 8192 tokens, D = E = 64, causal: 2.75 TFLOP, 3.48 ms at 790 TFLOP/s; sums of dQ of 8.7 GB go
// through the second-level cache.
// On one H200 with all four launches: 5.55 ms, 63 % of that rate; D = E = 128 10.5 ms, 66 %.
#include "attention.cuh"

#ifndef ATT_TILE
#define ATT_TILE 128            // queries at a time: 128, or 64 where a head has more than 64 elements
#endif

constexpr int KeyGroups = 2, Keys = 64 * KeyGroups, Queries = ATT_TILE, QuerySteps = Queries / 16;
constexpr int KeySize = DTiles * Keys * 64, ValueSize = ETiles * Keys * 64, QuerySize = DTiles * Queries * 64, GradientSize = ETiles * Queries * 64,
    PairSize = KeyGroups * Queries * 64;
// each group's part of dQ: 64 of the queries, or else PartColumns of the columns
constexpr bool RowParts = Queries == Keys;
constexpr int PartColumns = RowParts ? D : 64 * DTiles / KeyGroups, SumColumns = RowParts ? D : 64 * DTiles, SumsSize = Queries * SumColumns;
constexpr int CardSize = 8 + BoundInts * Queries;       // ints of what a step is told

static_assert(RowParts || (Queries == 64 && PartColumns % 32 == 0), "how dQ is divided");

struct Backward {
    const AttentionArguments& a;
    u16* front;
    Place keys, values, queries, gradients, pairs, sums;
    Place blockFull, queryFull, queryEmpty, gradientFull, gradientEmpty, sumsFull, sumsEmpty;
    float *sumsAt, *logarithms, *deltas;
    int *cards, *ticket;
    int warp, lane, row, keyHead, block, perHead, queryBlocks;

    __device__ __forceinline__ explicit Backward(const AttentionArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(u16, shared);
        front = aligned_tiles(shared);
        keys = place_of(front);
        values = keys + KeySize;
        queries = values + ValueSize;
        gradients = queries + 2 * QuerySize;
        pairs = gradients + 2 * GradientSize;
        u16* at = front + KeySize + ValueSize + 2 * (QuerySize + GradientSize + PairSize);
        sums = place_of(at);
        sumsAt = reinterpret_cast<float*>(at);
        logarithms = sumsAt + SumsSize;
        deltas = logarithms + 2 * Queries;
        cards = reinterpret_cast<int*>(deltas + 2 * Queries);
        ticket = cards + 2 * CardSize;
        blockFull = place_of(reinterpret_cast<u16*>(ticket + 2));
        queryFull = blockFull + 4;
        queryEmpty = queryFull + 8;
        gradientFull = queryEmpty + 8;
        gradientEmpty = gradientFull + 8;
        sumsFull = gradientEmpty + 8;
        sumsEmpty = sumsFull + 8;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        perHead = static_cast<int>(a.heads / a.keyHeads);
        queryBlocks = static_cast<int>((a.queries + Queries - 1) / Queries);
    }

    __device__ __forceinline__ void open() {
        if (threadIdx.x == 0) {
            open_barrier(blockFull, 1);
            for (int i = 0; i < 2; i++) {
                open_barrier(queryFull + 4 * i, CardLanes);
                open_barrier(queryEmpty + 4 * i, CardLanes * (4 * KeyGroups + 1));
                open_barrier(gradientFull + 4 * i, 1);
                open_barrier(gradientEmpty + 4 * i, 4 * KeyGroups);
                open_barrier(sumsFull + 4 * i, 4 * KeyGroups);
            }
            open_barrier(sumsEmpty, 1);
            *ticket = take_ticket(a.ticket);
        }
        __syncthreads();
        const LineBlock at = line_block_of(a, uniform(*ticket), static_cast<int>(a.batch * a.keyHeads), static_cast<int>((a.keys + Keys - 1) / Keys));
        block = at.block;
        row = at.line / static_cast<int>(a.keyHeads);
        keyHead = at.line % static_cast<int>(a.keyHeads);
    }

    // ---- the warp that loads, and says what each step is about ----

    // what a step is told, of the stage's card: its query head (below 0: there is none more), its first query, the number of blocks that add to its
    // dQ before, and the keys all see; then
    // each query's first and last and one key within the window and, with sinks, of the sinks
    struct Card { int head, query, rank, inner, innerEnd; };

    __device__ __forceinline__ Card read_card(int stage) const {
        const int* card = cards + stage * CardSize;
        return {uniform(card[0]), uniform(card[1]), card[2], uniform(card[3]), uniform(card[4])};
    }

    __device__ __forceinline__ void write_card(int stage, int head, int query, const BlockList& blocks, const Range& range) const {
        int* card = cards + stage * CardSize;
        if (lane == 0) {
            card[0] = head;
            card[1] = query;
            card[2] = blocks.rank(block);
            card[3] = range.inner;
            card[4] = range.innerEnd;
        }
        if (head < 0 || sees_all(range, block * Keys, Keys)) return;
        for (int i = lane; i < Queries; i += 32) write_bounds(card + 8, Queries, i, a, row, query + i);
    }

    // the blocks of queries among which those are that visit this block of keys: [x, y)
    struct Span { int first, last; };

    __device__ __forceinline__ Span visitors() const {
        if (a.visitors) {
            const int* at = a.visitors + (row * ((a.keys + Keys - 1) / Keys) + block) * 2;
            return {at[0], at[1]};
        }
        // the first query that sees the first key, and the last that sees the last key
        const i64 before = a.keys - a.queries, firstKey = static_cast<i64>(block) * Keys, first = firstKey - before, last = firstKey
            + Keys - 1 - before + a.window;
        const bool all = last >= a.queries || (Sinks && firstKey < a.sinks);
        return {static_cast<int>(first > 0 ? first / Queries : 0), all ? queryBlocks : static_cast<int>(last > 0 ? (last + Queries - 1) / Queries
            : 0)};
    }

    __device__ __forceinline__ void load_step(const Turn<2>& turn, int head, int query, const BlockList& blocks, const Range& range) const {
        wait_for_copies(queryEmpty + 4 * turn.stage, turn.parity ^ 1);
        write_card(turn.stage, head, query, blocks, range);
        sync_warp();
        const i64 at = (row * a.heads + head) * rounded_up(a.queries, 128) + query;
        if (lane == 0) {
            const Place full = queryFull + 4 * turn.stage;
            expect(full, 2 * QuerySize + 4 * Queries);
            for (int t = 0; t < DTiles; t++)
                for (int r = 0; r < Queries; r += 64) copy_head(queries + turn.stage * QuerySize + (t * Queries + r) * 64, a.query, 64 * t, head,
                    query + r, row, full);
            copy_in(place_of(reinterpret_cast<u16*>(logarithms + turn.stage * Queries)), a.logarithms + at, 4 * Queries, full);
        } else if (lane < CardLanes) arrive_at(queryFull + 4 * turn.stage);
        sync_warp();
        wait_for_copies(gradientEmpty + 4 * turn.stage, turn.parity ^ 1);
        if (lane == 0) {
            const Place full = gradientFull + 4 * turn.stage;
            expect(full, 2 * GradientSize + 4 * Queries);
            for (int t = 0; t < ETiles; t++)
                for (int r = 0; r < Queries; r += 64) copy_head(gradients + turn.stage * GradientSize + (t * Queries + r) * 64, a.gradient, 64 * t,
                    head, query + r, row, full);
            copy_in(place_of(reinterpret_cast<u16*>(deltas + turn.stage * Queries)), a.delta + at, 4 * Queries, full);
        }
        sync_warp();
    }

    __device__ __forceinline__ void produce() const {
        if (lane == 0) {
            expect(blockFull, 2 * (KeySize + ValueSize));
            for (int r = 0; r < Keys; r += 64) {
                for (int t = 0; t < DTiles; t++) copy_head(keys + (t * Keys + r) * 64, a.key, 64 * t, keyHead, block * Keys + r, row, blockFull);
                for (int t = 0; t < ETiles; t++) copy_head(values + (t * Keys + r) * 64, a.value, 64 * t, keyHead, block * Keys + r, row, blockFull);
            }
        }
        sync_warp();
        const Span span = visitors();
        Turn<2> turn;
        for (int i = 0; i < span.last - span.first; i++) {
            // from the last queries back, which all blocks of keys see; with sinks from the first on, where the block of the sinks is ahead of those
            // that wait for it
            const int query = (Sinks ? span.first + i : span.last - 1 - i) * Queries;
            const Range range = range_of(a, row, query, Queries);
            const BlockList blocks(range, Keys);
            if (!blocks.contains(block)) continue;
            for (int own = 0; own < perHead; own++, turn.next()) load_step(turn, keyHead * perHead + own, query, blocks, range);
        }
        for (int i = 0; i < 2; i++, turn.next()) {
            wait_for_copies(queryEmpty + 4 * turn.stage, turn.parity ^ 1);
            if (lane == 0) cards[turn.stage * CardSize] = -1;
            release_card(queryFull + 4 * turn.stage);
        }
    }

    // ---- the two warps that add to dQ, of every other step each ----

    __device__ __forceinline__ void release(Place barrier) const {
        sync_warp();
        if (lane == 0) arrive_at(barrier);
    }

    // the same at a card's barrier
    __device__ __forceinline__ void release_card(Place barrier) const {
        sync_warp();
        if (lane < CardLanes) arrive_at(barrier);
    }

    __device__ __forceinline__ void add_up(int stage) const {
        for (unsigned parity = 0;; parity ^= 1) {
            wait_for_copies(queryFull + 4 * stage, parity);
            const Card card = read_card(stage);
            release_card(queryEmpty + 4 * stage);
            if (card.head < 0) return;
            const i64 at = (row * a.heads + card.head) * queryBlocks + card.query / Queries;
            // while the products are still under way
            if (lane == 0) wait_for_turn(a.turns + at, card.rank);
            sync_warp();
            wait_for_copies(sumsFull + 4 * stage, parity);
            if (lane == 0) {
                if (card.rank > 0) copy_sums_out<true>(a.dQuerySums + at * SumsSize, sums, 4 * SumsSize);
                else copy_sums_out<false>(a.dQuerySums + at * SumsSize, sums, 4 * SumsSize);
                copied_out();
                arrive_at(sumsEmpty);
                written_out();
                pass_turn(a.turns + at, card.rank + 1);
            }
            sync_warp();
        }
    }

    // ---- the groups that multiply ----

    // 64 keys of the group by the queries of a stage
    __device__ __forceinline__ void start_scores(float (&scores)[Queries / 2], int group, int stage) const {
        open_products();
#pragma unroll
        for (int k = 0; k < DSteps; k++)
            start_products<Queries, 0, false>(scores, slice(keys + k / 4 * Keys * 64, 64 * group, k % 4 * 16, Keys * 64), queries
                + stage * QuerySize, 0, 16 * k, Queries * 64, k > 0);
        close_products();
    }

    __device__ __forceinline__ void start_slopes(float (&slopes)[Queries / 2], int group, int stage) const {
        open_products();
#pragma unroll
        for (int k = 0; k < ESteps; k++)
            start_products<Queries, 0, false>(slopes, slice(values + k / 4 * Keys * 64, 64 * group, k % 4 * 16, Keys * 64), gradients
                + stage * GradientSize, 0, 16 * k, Queries * 64, k > 0);
        close_products();
    }

    // sums += left times the queries' rows of a tile
    template <int Columns> __device__ __forceinline__ void start_sums(float (&to)[Columns / 2], const unsigned (&left)[QuerySteps][4],
        Place tile) const {
        open_products();
#pragma unroll
        for (int k = 0; k < QuerySteps; k++) start_products<Columns, 0, true>(to, left[k], tile, 16 * k, 0, Queries * 64, true);
        close_products();
    }

    // the group's part of dS K
    __device__ __forceinline__ void start_part(float (&part)[PartColumns / 2], int group, int turn) const {
        const int firstRow = RowParts ? 64 * group : 0, firstColumn = RowParts ? 0 : PartColumns * group;
        open_products();
#pragma unroll
        for (int k = 0; k < Keys / 16; k++)
            start_products<PartColumns, 0, true>(part, slice(pairs + turn * PairSize + k / 4 * Queries * 64, firstRow, k % 4 * 16, Queries * 64),
                keys, 16 * k, firstColumn, Keys * 64, k > 0);
        close_products();
    }

    // scores become probabilities
    __device__ __forceinline__ void exponentiate(float (&scores)[Queries / 2], const Card& card, int group, int stage) const {
        const int q = lane % 4, key = block * Keys + 64 * group;
        const float* logarithms_ = logarithms + stage * Queries + 2 * q;
#pragma unroll
        for (int n = 0; n < Queries / 8; n++) {
            const Two logarithm = *reinterpret_cast<const Two*>(logarithms_ + 8 * n);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float score = scores[4 * n + i], exponent = Capped ? a.capLog2 * tanh_approximate(score * a.cap) : score * a.scaleLog2;
                scores[4 * n + i] = exp2_approximate(exponent - (i % 2 ? logarithm.y : logarithm.x));
            }
        }
        if (key >= card.inner && key + 64 <= card.innerEnd) return;
        const int own = key + warp % 4 * 16 + lane / 4;
        const int* bounds = cards + stage * CardSize + 8 + 4 * q;
#pragma unroll
        for (int n = 0; n < Queries / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int* at = bounds + 16 * n + 2 * e;
                const int low = at[0], end = at[1];
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int key_ = own + 8 * half;
                    bool seen = key_ >= low && key_ < end;
                    if constexpr (Sinks) seen |= key_ >= at[2 * Queries] && key_ < at[2 * Queries + 1];
                    if (!seen) scores[4 * n + 2 * half + e] = 0;
                }
            }
    }

    // How a capped score follows the score before: 1 - tanh^2, where the capped score is what the probability says.
    __device__ __forceinline__ float slope_of_cap(float probability, float logarithm) const {
        const float part = probability > 0 ? (log2_approximate(probability) + logarithm) * (1 / a.capLog2) : 0.f;
        return 1 - part * part;
    }

    // Slopes of the probabilities become those of the scores. Probabilities are taken as rounded for dV, so that the registers of float32 ones are
    // free.
    __device__ __forceinline__ void differentiate(float (&slopes)[Queries / 2], const unsigned (&probabilities)[QuerySteps][4], int stage) const {
        const float* deltas_ = deltas + stage * Queries + 2 * (lane % 4);
#pragma unroll
        for (int n = 0; n < Queries / 8; n++) {
            const Two delta = *reinterpret_cast<const Two*>(deltas_ + 8 * n);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const unsigned word = probabilities[n / 2][n % 2 * 2 + half];
                float* slope = slopes + 4 * n + 2 * half;
                slope[0] = first_of(word) * (slope[0] - delta.x);
                slope[1] = second_of(word) * (slope[1] - delta.y);
                if constexpr (Capped) {
                    const Two logarithm = *reinterpret_cast<const Two*>(logarithms + stage * Queries + 2 * (lane % 4) + 8 * n);
                    slope[0] *= slope_of_cap(first_of(word), logarithm.x);
                    slope[1] *= slope_of_cap(second_of(word), logarithm.y);
                }
            }
        }
    }

    // dS of the group's keys, transposed, into the tile of pairs
    __device__ __forceinline__ void store_pairs(const unsigned (&operands)[QuerySteps][4], int group, int turn) const {
        const Place to = pairs + turn * PairSize + group * Queries * 64;
#pragma unroll
        for (int k = 0; k < QuerySteps; k++)
            // blocks of the operand: keys 0, keys 8; then both of queries 8 on
            store_blocks<true>(to + swizzled(16 * k + lane / 16 * 8 + lane % 8, warp % 4 * 16 + lane / 8 % 2 * 8), operands[k]);
        publish();
    }

    __device__ __forceinline__ void store_part(const float (&part)[PartColumns / 2], int group, int stage) const {
        const int first = RowParts ? group * (D / 8) : group * (PartColumns / 8), own = threadIdx.x % 128;
#pragma unroll
        for (int n = 0; n < PartColumns / 8; n++) {
            const float values_[4] = {part[4 * n], part[4 * n + 1], part[4 * n + 2], part[4 * n + 3]};
            store<float, 4>(sumsAt, ((first + n) * 128 + own) * 4, values_);
        }
        publish();
        release(sumsFull + 4 * stage);
    }

    // a group's 64 rows of dK or dV, rounded, in the place of its keys or values
    template <int Columns> __device__ __forceinline__ void store_rows(const float (&from)[Columns / 2], Place to, int group, float scale) const {
#pragma unroll
        for (int n = 0; n < Columns / 8; n += 2) {
            unsigned words[4];
#pragma unroll
            for (int i = 0; i < 4; i++) words[i] = round_to_bfloat16_pair(from[4 * (n + i / 2) + i % 2 * 2] * scale,
                from[4 * (n + i / 2) + i % 2 * 2 + 1] * scale);
            store_blocks<false>(to + n / 8 * Keys * 64 + swizzled(64 * group + warp % 4 * 16 + lane / 8 % 2 * 8 + lane % 8, n % 8 * 8
                + lane / 16 * 8), words);
        }
    }

    __device__ __forceinline__ void finish(const float (&dKey)[D / 2], const float (&dValue)[E / 2], int group) const {
        meet(1, 128 * KeyGroups);
        store_rows<D>(dKey, keys, group, a.scale);
        store_rows<E>(dValue, values, group, 1.f);
        publish();
        meet(2 + group, 128);
        const int token = block * Keys + 64 * group;
        if (threadIdx.x % 128 == 0 && token < a.keys) {
            for (int t = 0; t < DTiles; t++) copy_head_out(a.dKey, 64 * t, keyHead, token, row, keys + (t * Keys + 64 * group) * 64);
            for (int t = 0; t < ETiles; t++) copy_head_out(a.dValue, 64 * t, keyHead, token, row, values + (t * Keys + 64 * group) * 64);
            copied_out();
        }
    }

    // Products follow one another without a gap: scores of the next step are multiplied while dQ leaves, dP while exponentials are taken, dV while dS
    // is made. What is under way from
    // one turn of the loop to the next is dV alone.
    __device__ __forceinline__ void consume(int group) const {
        float dKey[D / 2], dValue[E / 2], scores[Queries / 2], slopes[Queries / 2];
        unsigned probabilities[QuerySteps][4];
#pragma unroll
        for (int i = 0; i < D / 2; i++) dKey[i] = 0;
#pragma unroll
        for (int i = 0; i < E / 2; i++) dValue[i] = 0;
        Turn<2> turn;
        unsigned sumsParity = 1;
        wait_for_copies(blockFull, 0);
        wait_for_copies(queryFull, 0);
        Card card = read_card(0);
        if (card.head >= 0) {
            start_scores(scores, group, 0);
            wait_for_copies(gradientFull, 0);
            start_slopes(slopes, group, 0);
            wait_for_products<1>();
            settle(scores);
            exponentiate(scores, card, group, 0);
            as_operands(probabilities, scores);
            start_sums<E>(dValue, probabilities, gradients);
            wait_for_products<1>();
            settle(slopes);
            while (true) {
                float part[PartColumns / 2];
                unsigned pairs_[QuerySteps][4];
                const int stage = turn.stage;
                differentiate(slopes, probabilities, stage);
                as_operands(pairs_, slopes);
                store_pairs(pairs_, group, stage);
                meet(1, 128 * KeyGroups);
                start_part(part, group, stage);
                start_sums<D>(dKey, pairs_, queries + stage * QuerySize);
                turn.next();
                wait_for_copies(queryFull + 4 * turn.stage, turn.parity);
                card = read_card(turn.stage);
                wait_for_products<1>();
                settle(part);
                wait_for_copies(sumsEmpty, sumsParity);
                sumsParity ^= 1;
                store_part(part, group, stage);
                if (card.head < 0) break;
                start_scores(scores, group, turn.stage);
                wait_for_products<1>();
                release_card(queryEmpty + 4 * stage);
                release(gradientEmpty + 4 * stage);
                wait_for_copies(gradientFull + 4 * turn.stage, turn.parity);
                start_slopes(slopes, group, turn.stage);
                wait_for_products<1>();
                settle(scores);
                exponentiate(scores, card, group, turn.stage);
                as_operands(probabilities, scores);
                start_sums<E>(dValue, probabilities, gradients + turn.stage * GradientSize);
                wait_for_products<1>();
                settle(slopes);
            }
            wait_for_products<0>();
            settle(dKey);
            settle(dValue);
            release_card(queryEmpty + 4 * (turn.stage ^ 1));
        }
        finish(dKey, dValue, group);
    }
};

__device__ __forceinline__ void attention_backward_(const AttentionArguments& a) {
    Backward backward(a);
    backward.open();
    if (backward.warp / 4 == KeyGroups) {
        lower_registers<24>();
        if (backward.warp % 4 == 0) backward.produce();
        else if (backward.warp % 4 <= 2) backward.add_up(backward.warp % 4 - 1);
    } else {
        raise_registers<240>();
        backward.consume(backward.warp / 4);
    }
}

#if ATT_WHOLE
KERNEL_OF(attention_backward, 384, 1, AttentionArguments, attention_backward_)
#endif

// ---- before: delta, counters at zero, and `visitors` at (all blocks, 0). Eight lanes take a head's output and gradient, 32 heads of tokens a block
// of 256 threads. ----

__device__ __forceinline__ void attention_prepare_(const AttentionArguments& a) {
    const i64 room = rounded_up(a.queries, 128), thread = static_cast<i64>(blockIdx.x) * 256 + threadIdx.x, item = thread / 8;
    const i64 counters = a.batch * a.heads * ((a.queries + Queries - 1) / Queries);
    for (i64 i = thread; i < counters; i += static_cast<i64>(gridDim.x) * 256) a.turns[i] = 0;
    if (thread == 0) *a.ticket = 0;
    if (a.visitors) {
        const i64 ends = 2 * a.batch * ((a.keys + Keys - 1) / Keys);
        for (i64 i = thread; i < ends; i += static_cast<i64>(gridDim.x) * 256) a.visitors[i] = i % 2 ? 0
            : static_cast<int>((a.queries + Queries - 1) / Queries);
    }
    const i64 head = item % a.heads, token = item / a.heads % room, row = item / a.heads / room, to = (row * a.heads + head) * room + token;
    const bool there = row < a.batch, real = there && token < a.queries;
    float sum = 0;
    if (real)
        for (int e = threadIdx.x % 8 * 8; e < a.valueSize; e += 64) {
            const Raw<bfloat16, 8> output = load_raw<bfloat16, 8>(a.plainOutput, ((row * a.queries + token) * a.heads + head) * a.valueSize + e);
            const Raw<bfloat16, 8> gradient = load_raw<bfloat16, 8>(a.plainGradient, row * a.gradientRow + token * a.gradientToken
                + head * a.gradientHead + e);
#pragma unroll
            for (int i = 0; i < 8; i++) sum += output[i] * gradient[i];
        }
    sum = lane_sum(sum, 8);
    if (threadIdx.x % 8 != 0 || !there) return;
    a.delta[to] = sum;
    if (!real) a.logarithms[to] = 0;
}

KERNEL(attention_prepare, 256, AttentionArguments, attention_prepare_)

// ---- after: dQ scaled and rounded, by 128 threads for 64 queries of a head, which hold what a group held ----

// word i of lane q of a quad becomes word q of lane i
__device__ __forceinline__ void transpose_quad(unsigned (&words)[4]) {
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const unsigned low = words[i], high = words[i + 1], other = as_bits(from_lane_xor(as_float(odd ? low : high), 1));
        words[i] = odd ? other : low;
        words[i + 1] = odd ? high : other;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const unsigned low = words[i], high = words[i + 2], other = as_bits(from_lane_xor(as_float(upper ? low : high), 2));
        words[i] = upper ? other : low;
        words[i + 2] = upper ? high : other;
    }
}

__device__ __forceinline__ void attention_finish_(const AttentionArguments& a) {
    const i64 queryBlocks = (a.queries + Queries - 1) / Queries;
    const int part = static_cast<int>(blockIdx.x) % (Queries / 64), number = static_cast<int>(blockIdx.x) / (Queries / 64), head =
        static_cast<int>(blockIdx.y % a.heads), own = threadIdx.x;
    const i64 row = blockIdx.y / a.heads + static_cast<i64>(blockIdx.z) * (65535 / a.heads);
    if (row >= a.batch) return;
    const bool any = BlockList(range_of(a, row, number * Queries, Queries), Keys).count() > 0;
    const float* from = a.dQuerySums + ((row * a.heads + head) * queryBlocks + number) * SumsSize;
    const int query = number * Queries + 64 * part + own / 32 * 16 + own % 32 / 4;
    // four pieces of 8 columns at a time: the lanes of a quad hold two columns of each, and exchange them so that each writes a whole piece
#pragma unroll
    for (int n = 0; n < SumColumns / 8; n += 4) {
        Word<16> words[2];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            Raw<float, 4> sums = {};
            if (any && n + i < SumColumns / 8) sums = load_raw<float, 4>(from, ((part * (SumColumns / 8) + n + i) * 128 + own) * 4);
#pragma unroll
            for (int half = 0; half < 2; half++) words[half].words[i] = round_to_bfloat16_pair(sums[2 * half] * a.scale,
                sums[2 * half + 1] * a.scale);
        }
        const int column = 8 * (n + own % 4);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            transpose_quad(words[half].words);
            if (query + 8 * half < a.queries && column < a.dQuerySize)
                *reinterpret_cast<Word<16>*>(static_cast<u16*>(a.dQuery) + ((row * a.queries + query + 8 * half) * a.heads + head) * a.dQuerySize
                    + column) = words[half];
        }
    }
}

KERNEL(attention_finish, 128, AttentionArguments, attention_finish_)

// ---- after that, where bounds are given: the blocks of queries that visit a block of keys. A thread takes a block of queries. ----

__device__ __forceinline__ void least(int* at, int value) {
#ifdef HYBRID_EMULATION
    *at = lesser(*at, value);
#else
    asm volatile("red.global.min.s32 [%0], %1;" : : "l"(at), "r"(value) : "memory");
#endif
}

__device__ __forceinline__ void most(int* at, int value) {
#ifdef HYBRID_EMULATION
    *at = greater(*at, value);
#else
    asm volatile("red.global.max.s32 [%0], %1;" : : "l"(at), "r"(value) : "memory");
#endif
}

__device__ __forceinline__ void attention_visitors_(const AttentionArguments& a) {
    const int queryBlocks = static_cast<int>((a.queries + Queries - 1) / Queries), number = static_cast<int>(blockIdx.x) * 128 + threadIdx.x;
    if (number >= queryBlocks) return;
    const i64 row = blockIdx.y, keyBlocks = (a.keys + Keys - 1) / Keys;
    const BlockList blocks(range_of(a, row, number * Queries, Queries), Keys);
    for (int i = 0; i < blocks.count(); i++) {
        int* at = a.visitors + (row * keyBlocks + blocks.at(i)) * 2;
        least(at, number);
        most(at + 1, number + 1);
    }
}

KERNEL(attention_visitors, 128, AttentionArguments, attention_visitors_)
