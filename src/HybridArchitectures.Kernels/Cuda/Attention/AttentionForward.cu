// Softmax attention forward on compute capability 9.0 (wgmma, copy engine), bfloat16: output = softmax(scale q k^T) v over the keys each query sees,
// and the logarithm of each query's sum.
//
// Tiles: a block owns 64 queries of one head for each of its Groups groups of four warps (192 queries at 64 elements a head, 128 above) and goes
// through the keys they see, 64 or 128 at a time,
// from the last one back. Blocks stay and take tiles in turn, those with most keys first. Keys that no query of a tile sees (after the last one,
// before the window, other documents) are
// neither loaded nor multiplied; only tiles at an edge compare positions. Query heads of one key head share its keys and values through the
// second-level cache; nothing is repeated.
// Warps: one warp writes down what a tile is about (its keys, its queries' bounds) a tile ahead; one has the copy engine load queries, keys and
// values ahead; each group multiplies q k^T of a tile while it multiplies the probabilities of the tile before with their values, and
// groups take turns at that, so that one's exponentials run beside another's products.
// Registers: scores 64 x 128 (64 a thread), the same as probabilities in bfloat16 (32), output 64 x E (E / 2), two rows' maximum and sum.
// Shared memory: queries, output on its way out, Stages tiles of keys and of values.
//
// What it must do, B4, 32 query heads over 8 of keys, 8192 tokens, D = E = 64, causal: 1.10 TFLOP, 1.39 ms at 790 TFLOP/s; 4.3e9 exponentials, 1.13
// ms in the special units;
// 0.34 GB, 0.08 ms.
// On one H200: 2.22 ms, 63 % of that rate; D = E = 128 3.49 ms, 80 %. What each step gave stands in lab/kernels-log.md.
#include "attention.cuh"

#ifndef ATT_GROUPS
#define ATT_GROUPS 3            // groups of four warps that multiply
#define ATT_TILE 128            // keys at a time: 64 or 128
#define ATT_STAGES 4            // tiles of keys and of values in shared memory
#define ATT_REGISTERS 160       // of a thread that multiplies
#define ATT_FEW_REGISTERS 32    // of one that loads
#define ATT_SHARED_OUTPUT 0     // whether the output leaves from where the queries were, for want of room
#endif

constexpr int Groups = ATT_GROUPS, Stages = ATT_STAGES, Keys = ATT_TILE, Queries = 64 * Groups, KeySteps = Keys / 16;
constexpr int QuerySize = DTiles * Queries * 64, OutputSize = ETiles * Queries * 64, KeySize = DTiles * Keys * 64, ValueSize = ETiles * Keys * 64;
constexpr int CardGroups = 8, CardBounds = CardGroups + 8 * Groups, CardSize = CardBounds + BoundInts * Queries;      // ints: see `scout`
constexpr bool SharedOutput = ATT_SHARED_OUTPUT;
constexpr int FrontSize = SharedOutput ? (QuerySize > OutputSize ? QuerySize : OutputSize) : QuerySize + OutputSize;

struct Forward {
    const AttentionArguments& a;
    u16* front;
    Place query, output, keys, values;
    int* cards;
    Place cardFull, cardEmpty, queryFull, queryEmpty, keyFull, keyEmpty, valueFull, valueEmpty;
    int warp, lane, tiles, perHead;

    __device__ __forceinline__ explicit Forward(const AttentionArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(u16, shared);
        front = aligned_tiles(shared);
        query = place_of(front);
        output = query + (SharedOutput ? 0 : QuerySize);
        keys = query + FrontSize;
        values = keys + Stages * KeySize;
        cards = reinterpret_cast<int*>(front + FrontSize + Stages * (KeySize + ValueSize));
        cardFull = place_of(reinterpret_cast<u16*>(cards + 2 * CardSize));
        cardEmpty = cardFull + 8;
        queryFull = cardEmpty + 8;
        queryEmpty = queryFull + 4;
        keyFull = queryEmpty + 4;
        keyEmpty = keyFull + 4 * Stages;
        valueFull = keyEmpty + 4 * Stages;
        valueEmpty = valueFull + 4 * Stages;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        perHead = static_cast<int>((a.queries + Queries - 1) / Queries);
        tiles = static_cast<int>(perHead * a.batch * a.heads);
    }

    // tiles of many keys first
    struct Tile { int row, head, query; };

    __device__ __forceinline__ Tile tile_of(int number) const {
        const LineBlock at = line_block_of(a, number, static_cast<int>(a.batch * a.heads), perHead);
        return {at.line / static_cast<int>(a.heads), at.line % static_cast<int>(a.heads), (perHead - 1 - at.block) * Queries};
    }

    __device__ __forceinline__ void open() const {
        if (threadIdx.x == 0) {
            for (int i = 0; i < 2; i++) {
                open_barrier(cardFull + 4 * i, CardLanes);
                open_barrier(cardEmpty + 4 * i, CardLanes * (4 * Groups + 1));
            }
            open_barrier(queryFull, 1);
            open_barrier(queryEmpty, 4 * Groups);
            for (int i = 0; i < Stages; i++) {
                open_barrier(keyFull + 4 * i, 1);
                open_barrier(keyEmpty + 4 * i, 4 * Groups);
                open_barrier(valueFull + 4 * i, 1);
                open_barrier(valueEmpty + 4 * i, 4 * Groups);
            }
        }
        __syncthreads();
    }

    // all lanes of the warp are through with it
    __device__ __forceinline__ void release(Place barrier) const {
        sync_warp();
        if (lane == 0) arrive_at(barrier);
    }

    // the same at a card's barrier
    __device__ __forceinline__ void release_card(Place barrier) const {
        sync_warp();
        if (lane < CardLanes) arrive_at(barrier);
    }

    // ---- the warp that loads ----

    template <int Tiles, int Rows> __device__ __forceinline__ void load(Place to, const TensorMap& map, int head, int token, int row,
        Place full) const {
        expect(full, Tiles * Rows * 128);
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
            for (int r = 0; r < Rows; r += 64) copy_head(to + (t * Rows + r) * 64, map, 64 * t, head, token + r, row, full);
    }

    __device__ __forceinline__ void produce() const {
        Turn<Stages> turn;
        Turn<2> cardTurn;
        for (unsigned parity = 0;; parity ^= 1, cardTurn.next()) {
            wait_for_copies(cardFull + 4 * cardTurn.stage, cardTurn.parity);
            const int* card = cards + cardTurn.stage * CardSize;
            const int row = card[0], head = card[1], query_ = card[2], count = card[3], keyHead = head / static_cast<int>(a.heads / a.keyHeads);
            const BlockList blocks = list_of(card + 4);
            release_card(cardEmpty + 4 * cardTurn.stage);
            if (row < 0) return;
            wait_for_copies(queryEmpty, parity ^ 1);
            if (lane == 0) load<DTiles, Queries>(query, a.query, head, query_, row, queryFull);
            sync_warp();
            for (int i = 0; i < count; i++, turn.next()) {
                const int token = blocks.at(i) * Keys;
                wait_for_copies(keyEmpty + 4 * turn.stage, turn.parity ^ 1);
                if (lane == 0) load<DTiles, Keys>(keys + turn.stage * KeySize, a.key, keyHead, token, row, keyFull + 4 * turn.stage);
                sync_warp();
                wait_for_copies(valueEmpty + 4 * turn.stage, turn.parity ^ 1);
                if (lane == 0) load<ETiles, Keys>(values + turn.stage * ValueSize, a.value, keyHead, token, row, valueFull + 4 * turn.stage);
                sync_warp();
            }
        }
    }

    // ---- the warp that writes cards ----

    __device__ __forceinline__ static BlockList list_of(const int* at) {
        BlockList list;
        list.first = at[0];
        list.last = at[1];
        list.sinkFirst = at[2];
        list.sinkLast = at[3];
        return list;
    }

    __device__ __forceinline__ static void write_list(int* to, const BlockList& list) {
        to[0] = list.first;
        to[1] = list.last;
        to[2] = list.sinkFirst;
        to[3] = list.sinkLast;
    }

    // A card: a tile's row (below 0: there is none more), head, first query, number of blocks of keys, and their list; for each group the list of its
    // own blocks and the keys all its queries
    // see; bounds of all queries.
    __device__ __forceinline__ void scout() const {
        Turn<2> turn;
        for (int number = blockIdx.x; number < tiles; number += gridDim.x, turn.next()) {
            const Tile tile = tile_of(number);
            int* card = cards + turn.stage * CardSize;
            wait_for_copies(cardEmpty + 4 * turn.stage, turn.parity ^ 1);
            if (lane < Groups) {
                Range range = no_range();
                if (tile.query + 64 * lane < a.queries) range = range_of(a, tile.row, tile.query + 64 * lane, 64);
                int* own = card + CardGroups + 8 * lane;
                write_list(own, BlockList(range, Keys));
                own[4] = range.inner;
                own[5] = range.innerEnd;
            }
            for (int i = lane; i < Queries; i += 32) write_bounds(card + CardBounds, Queries, i, a, tile.row, tile.query + i);
            const BlockList blocks(range_of(a, tile.row, tile.query, Queries), Keys);
            if (lane == 0) {
                card[0] = tile.row;
                card[1] = tile.head;
                card[2] = tile.query;
                card[3] = blocks.count();
                write_list(card + 4, blocks);
            }
            release_card(cardFull + 4 * turn.stage);
        }
        wait_for_copies(cardEmpty + 4 * turn.stage, turn.parity ^ 1);
        if (lane == 0) cards[turn.stage * CardSize] = -1;
        release_card(cardFull + 4 * turn.stage);
    }

    // ---- the groups that multiply ----

    // the barrier at which a group waits for its turn; and of a group alone
    __device__ __forceinline__ static int turn_of(int group) { return 1 + group; }
    __device__ __forceinline__ static int own_barrier(int group) { return 1 + Groups + group; }

    __device__ __forceinline__ void start_scores(float (&scores)[Keys / 2], int group, int stage) const {
        open_products();
#pragma unroll
        for (int k = 0; k < DSteps; k++)
            start_products<Keys, 0, false>(scores, slice(query + k / 4 * Queries * 64, 64 * group, k % 4 * 16, Queries * 64), keys + stage * KeySize,
                0, k * 16, Keys * 64, k > 0);
        close_products();
    }

    __device__ __forceinline__ void start_output(float (&sums)[E / 2], const unsigned (&probabilities)[KeySteps][4], int stage) const {
        open_products();
#pragma unroll
        for (int k = 0; k < KeySteps; k++) start_products<E, 0, true>(sums, probabilities[k], values + stage * ValueSize, 16 * k, 0, Keys * 64, true);
        close_products();
    }

    // whether the group visits the tile's block number i
    __device__ __forceinline__ bool visits(const int* card, int group,
        int i) const { return uniform(list_of(card + CardGroups + 8 * group).contains(list_of(card + 4).at(i))); }

    // capped scores are exponents already
    __device__ __forceinline__ void cap(float (&scores)[Keys / 2]) const {
        if constexpr (Capped)
#pragma unroll
            for (int i = 0; i < Keys / 2; i++) scores[i] = a.capLog2 * tanh_approximate(scores[i] * a.cap);
    }

    __device__ __forceinline__ float exponent_scale() const { return Capped ? 1.f : a.scaleLog2; }

    // minus infinity for keys that a query does not see
    __device__ __forceinline__ void hide(float (&scores)[Keys / 2], const int* card, int group, int firstKey) const {
        const int* own = card + CardGroups + 8 * group;
        const bool early = firstKey < own[4], late = firstKey + Keys > own[5];
        if (!early && !late) return;
        const int first = firstKey + 2 * (lane % 4);
        const int* bounds = card + CardBounds + 2 * (64 * group + warp % 4 * 16 + lane / 4);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (early) {
                const int low = bounds[16 * half] - first;
                int sinkLow = 0, sinkEnd = 0;
                if constexpr (Sinks) { sinkLow = bounds[2 * Queries + 16 * half] - first; sinkEnd = bounds[2 * Queries + 16 * half + 1] - first; }
#pragma unroll
                for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int key = 8 * n + e;
                        if (key < low && !(Sinks && key >= sinkLow && key < sinkEnd)) scores[4 * n + 2 * half + e] = minus_infinity();
                    }
            }
            if (late) {
                const int end = bounds[16 * half + 1] - first;
#pragma unroll
                for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        if (8 * n + e >= end) scores[4 * n + 2 * half + e] = minus_infinity();
            }
        }
    }

    // Scores become exponentials over the rows' new maximum; `factors` is what earlier sums are to be multiplied by.
    __device__ __forceinline__ void exponentiate(float (&scores)[Keys / 2], float (&maximum)[2], float (&sum)[2], float (&factors)[2]) const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = maximum[half];
#pragma unroll
            for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) most = greater_of(most, scores[4 * n + 2 * half + e]);
            most = greater_of(most, from_lane_xor(most, 1));
            most = greater_of(most, from_lane_xor(most, 2));
            const float scaled = most == minus_infinity() ? 0.f : most * exponent_scale();
            factors[half] = exp2_approximate(maximum[half] * exponent_scale() - scaled);
            maximum[half] = most;
            float own = 0;
#pragma unroll
            for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float& score = scores[4 * n + 2 * half + e];
                    score = exp2_approximate(score * exponent_scale() - scaled);
                    own += score;
                }
            sum[half] = sum[half] * factors[half] + own;
        }
    }

    __device__ __forceinline__ void finish(float (&sums)[E / 2], const float (&maximum)[2], float (&sum)[2], const int* card, int group) const {
        const Tile tile = {card[0], card[1], card[2]};
        const int query_ = tile.query + 64 * group, row = warp % 4 * 16 + lane / 4;
        const i64 room = rounded_up(a.queries, 128);
        float factors[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float total = lane_sum(sum[half], 4), scaled = maximum[half] * exponent_scale(), before = 1;
            if (a.sinkLogits) {
                const float logit = a.sinkLogits[tile.head] * log2_e, higher = greater_of(scaled, logit);
                before = exp2_approximate(scaled - higher);
                total = total * before + exp2_approximate(logit - higher);
                scaled = higher;
            }
            const bool any = total > 0;
            factors[half] = any ? before / total : 0.f;
            if (a.logarithms && lane % 4 == 0 && query_ + row + 8 * half < a.queries)
                a.logarithms[(tile.row * a.heads + tile.head) * room + query_ + row + 8 * half] = any ? scaled + log2_approximate(total)
                    : 0.f;
        }
        // the group's own part of the output's place
        if (!SharedOutput) {
            if (threadIdx.x % 128 == 0) copied_out();
            sync_warp();
            meet(own_barrier(group), 128);
        }
        const Place to = output + 64 * group * 64;
#pragma unroll
        for (int n = 0; n < E / 8; n += 2) {
            unsigned words[4];
#pragma unroll
            for (int i = 0; i < 4; i++) words[i] = round_to_bfloat16_pair(sums[4 * (n + i / 2) + i % 2 * 2] * factors[i % 2],
                sums[4 * (n + i / 2) + i % 2 * 2 + 1] * factors[i % 2]);
            store_blocks<false>(to + n / 8 * Queries * 64 + swizzled(warp % 4 * 16 + lane / 8 % 2 * 8 + lane % 8, n % 8 * 8 + lane / 16 * 8), words);
        }
        publish();
        meet(own_barrier(group), 128);
        if (threadIdx.x % 128 == 0 && query_ < a.queries)
            for (int t = 0; t < ETiles; t++) copy_head_out(a.output, 64 * t, tile.head, query_, tile.row, to + t * Queries * 64);
        if (SharedOutput) {
            if (threadIdx.x % 128 == 0) copied_out();
            sync_warp();
            meet(own_barrier(group), 128);
        }
        sync_warp();
    }

    __device__ __forceinline__ void consume(int group) const {
        Turn<Stages> keyTurn, valueTurn;
        Turn<2> cardTurn;
        const int next = group + 1 < Groups ? group + 1 : 0;
        if (group == Groups - 1) arrive(turn_of(0), 256);
        for (unsigned parity = 0;; parity ^= 1, cardTurn.next()) {
            wait_for_copies(cardFull + 4 * cardTurn.stage, cardTurn.parity);
            const int* card = cards + cardTurn.stage * CardSize;
            if (uniform(card[0]) < 0) break;
            const int count = uniform(card[3]);
            float sums[E / 2], maximum[2] = {minus_infinity(), minus_infinity()}, sum[2] = {}, factors[2];
#pragma unroll
            for (int i = 0; i < E / 2; i++) sums[i] = 0;
            wait_for_copies(queryFull, parity);
            int i = 0;
            while (i < count) {
                // blocks that the tile's other groups visit
                if (!visits(card, group, i)) {
                    wait_for_copies(keyFull + 4 * keyTurn.stage, keyTurn.parity);
                    meet(turn_of(group), 256);
                    arrive(turn_of(next), 256);
                    release(keyEmpty + 4 * keyTurn.stage);
                    keyTurn.next();
                    wait_for_copies(valueFull + 4 * valueTurn.stage, valueTurn.parity);
                    release(valueEmpty + 4 * valueTurn.stage);
                    valueTurn.next();
                    i++;
                    continue;
                }
                unsigned probabilities[KeySteps][4];
                {
                    float scores[Keys / 2];
                    wait_for_copies(keyFull + 4 * keyTurn.stage, keyTurn.parity);
                    meet(turn_of(group), 256);
                    start_scores(scores, group, keyTurn.stage);
                    arrive(turn_of(next), 256);
                    wait_for_products<0>();
                    settle(scores);
                    release(keyEmpty + 4 * keyTurn.stage);
                    keyTurn.next();
                    cap(scores);
                    hide(scores, card, group, list_of(card + 4).at(i) * Keys);
                    exponentiate(scores, maximum, sum, factors);
                    // of an earlier run of blocks
#pragma unroll
                    for (int n = 0; n < E / 2; n++) sums[n] *= factors[n % 4 / 2];
                    as_operands(probabilities, scores);
                }
                for (i++; i < count && visits(card, group, i); i++) {
                    float scores[Keys / 2];
                    wait_for_copies(keyFull + 4 * keyTurn.stage, keyTurn.parity);
                    wait_for_copies(valueFull + 4 * valueTurn.stage, valueTurn.parity);
                    meet(turn_of(group), 256);
                    start_scores(scores, group, keyTurn.stage);
                    start_output(sums, probabilities, valueTurn.stage);
                    arrive(turn_of(next), 256);
                    wait_for_products<1>();
                    settle(scores);
                    release(keyEmpty + 4 * keyTurn.stage);
                    keyTurn.next();
                    cap(scores);
                    hide(scores, card, group, list_of(card + 4).at(i) * Keys);
                    exponentiate(scores, maximum, sum, factors);
                    wait_for_products<0>();
                    settle(sums);
                    release(valueEmpty + 4 * valueTurn.stage);
                    valueTurn.next();
#pragma unroll
                    for (int n = 0; n < E / 2; n++) sums[n] *= factors[n % 4 / 2];
                    as_operands(probabilities, scores);
                }
                wait_for_copies(valueFull + 4 * valueTurn.stage, valueTurn.parity);
                start_output(sums, probabilities, valueTurn.stage);
                wait_for_products<0>();
                settle(sums);
                release(valueEmpty + 4 * valueTurn.stage);
                valueTurn.next();
            }
            if (!SharedOutput) release(queryEmpty);
            finish(sums, maximum, sum, card, group);
            release_card(cardEmpty + 4 * cardTurn.stage);
            if (SharedOutput) release(queryEmpty);
        }
        if (threadIdx.x % 128 == 0) copied_out();
    }
};

__device__ __forceinline__ void attention_forward_(const AttentionArguments& a) {
    Forward forward(a);
    forward.open();
    if (forward.warp / 4 == Groups) {
        lower_registers<ATT_FEW_REGISTERS>();
        if (forward.warp % 4 == 0) forward.produce();
        else if (forward.warp % 4 == 1) forward.scout();
    } else {
        raise_registers<ATT_REGISTERS>();
        forward.consume(forward.warp / 4);
    }
}

#if ATT_WHOLE
KERNEL_OF(attention_forward, 128 * (ATT_GROUPS + 1), 1, AttentionArguments, attention_forward_)
#endif

// ---- ranges of blocks of 64 queries, from their bounds: a block of 64 threads each ----

__device__ __forceinline__ void attention_ranges_(const AttentionArguments& a) {
    DYNAMIC_SHARED(Range, all);
    const int query = static_cast<int>(blockIdx.x) * 64 + threadIdx.x;
    all[threadIdx.x] = query < a.queries ? range_of(a, bounds_of(a, blockIdx.y, query)) : no_range();
    __syncthreads();
    if (threadIdx.x > 0) return;
    Range range = no_range();
    for (int i = 0; i < 64; i++) add_to(range, all[i]);
    a.ranges[blockIdx.y * (rounded_up(a.queries, 64) / 64) + blockIdx.x] = range;
}

KERNEL(attention_ranges, 64, AttentionArguments, attention_ranges_)
