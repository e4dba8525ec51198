// Softmax attention forward on compute capability 9.0 (wgmma, copy engine) in bfloat16: output = softmax(scale q k^T) v over the keys that each query
// sees, and the logarithm of the sum of each query.
//
// Tiles: a block has 64 queries of one head for each of its Groups groups of four warps (192 queries for head size 64, 128 for larger ones). It
// processes the keys that they see, 64 or 128 at a time, from the last one back. Blocks stay and process tiles in turn, those with most keys first.
// Keys that no query of a tile sees (after the last one, before the window, other documents) are neither loaded nor multiplied. Only tiles at an edge
// compare positions. The query heads of one key head share its keys and values through the second-level cache; nothing is repeated.
//
// Warps: one warp writes the description of a tile (its keys, the bounds of its queries) one tile ahead. One warp starts the copies of queries, keys
// and values ahead. Each group computes q k^T of a tile while it multiplies the probabilities of the previous tile with their values. Groups take
// turns, so that the exponentials of one overlap with the products of another.
// Registers: scores 64 x 128 (64 per thread), the same as probabilities in bfloat16 (32), output 64 x E (E / 2), maximum and sum of two rows.
// Shared memory: queries, output being written, Stages tiles of keys and of values.
//
// Operations for B4, 32 query heads over 8 key heads, 8192 tokens, D = E = 64, causal: 1.10 TFLOP, 1.39 ms at 790 TFLOP/s; 4.3e9 exponentials, 1.13
// ms in the special function units; 0.34 GB, 0.08 ms. Measured on one H200: 2.22 ms, 63 % of that rate; D = E = 128: 3.49 ms, 80 %. The effect of
// each improvement is in lab/kernels-log.md.
#include "attention_softmax.cuh"

#ifndef ATT_GROUPS
#define ATT_GROUPS 3            // groups of four warps that multiply
#define ATT_TILE 128            // keys at a time: 64 or 128
#define ATT_STAGES 4            // tiles of keys and of values in shared memory
#define ATT_REGISTERS 160  // of a thread that multiplies
#define ATT_FEW_REGISTERS 32  // of a thread that loads
#define ATT_SHARED_OUTPUT 0  // whether the output is written from the buffer of the queries, for lack of space
#endif

constexpr int Groups = ATT_GROUPS, Stages = ATT_STAGES, Keys = ATT_TILE, Queries = 64 * Groups, KeySteps = Keys / 16;
constexpr int QuerySize = DTiles * Queries * 64, OutputSize = ETiles * Queries * 64, KeySize = DTiles * Keys * 64, ValueSize = ETiles * Keys * 64;
// ints: see `write_records`
constexpr int RecordGroups = 8, RecordBounds = RecordGroups + 8 * Groups, RecordSize = RecordBounds + BoundInts * Queries;
constexpr bool SharedOutput = ATT_SHARED_OUTPUT;
constexpr int FrontSize = SharedOutput ? (QuerySize > OutputSize ? QuerySize : OutputSize) : QuerySize + OutputSize;

struct Forward {
    const AttentionArguments& args;
    u16* front;
    Place query, output, keys, values;
    int* records;
    Place recordFull, recordEmpty, queryFull, queryEmpty, keyFull, keyEmpty, valueFull, valueEmpty;
    int warp, lane, tiles, perHead;

    __device__ __forceinline__ explicit Forward(const AttentionArguments& arguments) : args(arguments) {
        DYNAMIC_SHARED(u16, shared);
        front = aligned_tiles(shared);
        query = place_of(front);
        output = query + (SharedOutput ? 0 : QuerySize);
        keys = query + FrontSize;
        values = keys + Stages * KeySize;
        records = reinterpret_cast<int*>(front + FrontSize + Stages * (KeySize + ValueSize));
        recordFull = place_of(reinterpret_cast<u16*>(records + 2 * RecordSize));
        recordEmpty = recordFull + 8;
        queryFull = recordEmpty + 8;
        queryEmpty = queryFull + 4;
        keyFull = queryEmpty + 4;
        keyEmpty = keyFull + 4 * Stages;
        valueFull = keyEmpty + 4 * Stages;
        valueEmpty = valueFull + 4 * Stages;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        perHead = static_cast<int>((args.queries + Queries - 1) / Queries);
        tiles = static_cast<int>(perHead * args.batch * args.heads);
    }

    // Tiles with many keys come first.
    struct Tile { int row, head, query; };

    __device__ __forceinline__ Tile tile_of(int number) const {
        const LineBlock at = line_block_of(args, number, static_cast<int>(args.batch * args.heads), perHead);
        return {at.line / static_cast<int>(args.heads), at.line % static_cast<int>(args.heads), (perHead - 1 - at.block) * Queries};
    }

    __device__ __forceinline__ void open() const {
        if (threadIdx.x == 0) {
            for (int i = 0; i < 2; i++) {
                open_barrier(recordFull + 4 * i, RecordLanes);
                open_barrier(recordEmpty + 4 * i, RecordLanes * (4 * Groups + 1));
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

    // All lanes of the warp have finished with it.
    __device__ __forceinline__ void release(Place barrier) const {
        sync_warp();
        if (lane == 0) arrive_at(barrier);
    }

    // The same at the barrier of a record.
    __device__ __forceinline__ void release_record(Place barrier) const {
        sync_warp();
        if (lane < RecordLanes) arrive_at(barrier);
    }

    // ---- the warp that loads ----

    template <int Tiles, int Rows> __device__ __forceinline__ void load(Place to, const TensorMap& map, int head, int token, int row,
        Place full) const {
        expect(full, Tiles * Rows * 128);
#pragma unroll
        for (int t = 0; t < Tiles; t++)
#pragma unroll
            for (int offset = 0; offset < Rows; offset += 64) copy_head(to + (t * Rows + offset) * 64, map, 64 * t, head, token + offset, row, full);
    }

    __device__ __forceinline__ void produce() const {
        Turn<Stages> turn;
        Turn<2> recordTurn;
        for (unsigned parity = 0;; parity ^= 1, recordTurn.next()) {
            wait_for_copies(recordFull + 4 * recordTurn.stage, recordTurn.parity);
            const int* record = records + recordTurn.stage * RecordSize;
            const int row = record[0], head = record[1], query_ = record[2], count = record[3],
                keyHead = head / static_cast<int>(args.heads / args.keyHeads);
            const BlockList blocks = list_of(record + 4);
            release_record(recordEmpty + 4 * recordTurn.stage);
            if (row < 0) return;
            wait_for_copies(queryEmpty, parity ^ 1);
            if (lane == 0) load<DTiles, Queries>(query, args.query, head, query_, row, queryFull);
            sync_warp();
            for (int i = 0; i < count; i++, turn.next()) {
                const int token = blocks.at(i) * Keys;
                wait_for_copies(keyEmpty + 4 * turn.stage, turn.parity ^ 1);
                if (lane == 0) load<DTiles, Keys>(keys + turn.stage * KeySize, args.key, keyHead, token, row, keyFull + 4 * turn.stage);
                sync_warp();
                wait_for_copies(valueEmpty + 4 * turn.stage, turn.parity ^ 1);
                if (lane == 0) load<ETiles, Keys>(values + turn.stage * ValueSize, args.value, keyHead, token, row, valueFull + 4 * turn.stage);
                sync_warp();
            }
        }
    }

    // ---- the warp that writes records ----

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

    // A record describes a tile: row (below 0: no more tiles), head, first query, number of blocks of keys, and their list; for each group, the list
    // of its blocks and the keys that all its queries see; the bounds of all queries.
    __device__ __forceinline__ void write_records() const {
        Turn<2> turn;
        for (int number = blockIdx.x; number < tiles; number += gridDim.x, turn.next()) {
            const Tile tile = tile_of(number);
            int* record = records + turn.stage * RecordSize;
            wait_for_copies(recordEmpty + 4 * turn.stage, turn.parity ^ 1);
            if (lane < Groups) {
                Range range = no_range();
                if (tile.query + 64 * lane < args.queries) range = range_of(args, tile.row, tile.query + 64 * lane, 64);
                int* groupRecord = record + RecordGroups + 8 * lane;
                write_list(groupRecord, BlockList(range, Keys));
                groupRecord[4] = range.inner;
                groupRecord[5] = range.innerEnd;
            }
            for (int i = lane; i < Queries; i += 32) write_bounds(record + RecordBounds, Queries, i, args, tile.row, tile.query + i);
            const BlockList blocks(range_of(args, tile.row, tile.query, Queries), Keys);
            if (lane == 0) {
                record[0] = tile.row;
                record[1] = tile.head;
                record[2] = tile.query;
                record[3] = blocks.count();
                write_list(record + 4, blocks);
            }
            release_record(recordFull + 4 * turn.stage);
        }
        wait_for_copies(recordEmpty + 4 * turn.stage, turn.parity ^ 1);
        if (lane == 0) records[turn.stage * RecordSize] = -1;
        release_record(recordFull + 4 * turn.stage);
    }

    // ---- the groups that multiply ----

    // The barrier at which a group waits for its turn, and the barrier of a group alone.
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

    // Returns whether the group visits block number i of the tile.
    __device__ __forceinline__ bool visits(const int* record, int group,
        int i) const { return uniform(list_of(record + RecordGroups + 8 * group).contains(list_of(record + 4).at(i))); }

    // Minus infinity for keys that a query does not see.
    __device__ __forceinline__ void hide(float (&scores)[Keys / 2], const int* record, int group, int firstKey) const {
        const int* groupRecord = record + RecordGroups + 8 * group;
        hide_keys<Queries>(scores, record + RecordBounds + 2 * (64 * group + warp % 4 * 16 + lane / 4), groupRecord[4], groupRecord[5], firstKey);
    }

    __device__ __forceinline__ void finish(float (&sums)[E / 2], const float (&maximum)[2], const float (&sum)[2], const int* record,
        int group) const {
        const Tile tile = {record[0], record[1], record[2]};
        const int query_ = tile.query + 64 * group, row = warp % 4 * 16 + lane / 4;
        const i64 room = rounded_up(args.queries, 128);
        float factors[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const RowEnd end = end_of_row(args, tile.head, maximum[half], sum[half]);
            factors[half] = end.factor;
            if (args.logarithms && lane % 4 == 0 && query_ + row + 8 * half < args.queries)
                args.logarithms[(tile.row * args.heads + tile.head) * room + query_ + row + 8 * half] = end.logarithm;
        }
        // The part of the group in the buffer of the output.
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
        if (threadIdx.x % 128 == 0 && query_ < args.queries)
            for (int t = 0; t < ETiles; t++) copy_head_out(args.output, 64 * t, tile.head, query_, tile.row, to + t * Queries * 64);
        if (SharedOutput) {
            if (threadIdx.x % 128 == 0) copied_out();
            sync_warp();
            meet(own_barrier(group), 128);
        }
        sync_warp();
    }

    __device__ __forceinline__ void consume(int group) const {
        Turn<Stages> keyTurn, valueTurn;
        Turn<2> recordTurn;
        const int next = group + 1 < Groups ? group + 1 : 0;
        if (group == Groups - 1) arrive(turn_of(0), 256);
        for (unsigned parity = 0;; parity ^= 1, recordTurn.next()) {
            wait_for_copies(recordFull + 4 * recordTurn.stage, recordTurn.parity);
            const int* record = records + recordTurn.stage * RecordSize;
            if (uniform(record[0]) < 0) break;
            const int count = uniform(record[3]);
            float sums[E / 2], maximum[2] = {minus_infinity(), minus_infinity()}, sum[2] = {}, factors[2];
#pragma unroll
            for (int i = 0; i < E / 2; i++) sums[i] = 0;
            wait_for_copies(queryFull, parity);
            int i = 0;
            while (i < count) {
                // Blocks that other groups of the tile visit.
                if (!visits(record, group, i)) {
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
                    cap_scores(args, scores);
                    hide(scores, record, group, list_of(record + 4).at(i) * Keys);
                    exponentiate(args, scores, maximum, sum, factors);
                    // Of an earlier run of blocks.
#pragma unroll
                    for (int n = 0; n < E / 2; n++) sums[n] *= factors[n % 4 / 2];
                    as_operands(probabilities, scores);
                }
                for (i++; i < count && visits(record, group, i); i++) {
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
                    cap_scores(args, scores);
                    hide(scores, record, group, list_of(record + 4).at(i) * Keys);
                    exponentiate(args, scores, maximum, sum, factors);
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
            finish(sums, maximum, sum, record, group);
            release_record(recordEmpty + 4 * recordTurn.stage);
            if (SharedOutput) release(queryEmpty);
        }
        if (threadIdx.x % 128 == 0) copied_out();
    }
};

__device__ __forceinline__ void attention_forward_(const AttentionArguments& args) {
    Forward forward(args);
    forward.open();
    if (forward.warp / 4 == Groups) {
        lower_registers<ATT_FEW_REGISTERS>();
        if (forward.warp % 4 == 0) forward.produce();
        else if (forward.warp % 4 == 1) forward.write_records();
    } else {
        raise_registers<ATT_REGISTERS>();
        forward.consume(forward.warp / 4);
    }
}

#if ATT_WHOLE
KERNEL_OF(attention_forward, 128 * (ATT_GROUPS + 1), 1, AttentionArguments, attention_forward_)
#endif

KERNEL(attention_ranges, 64, AttentionArguments, attention_ranges_)
