// Gradients of softmax attention on compute capability 9.0 (wgmma, copy engine) in bfloat16. With P the probabilities, computed again from scores and
// the logarithms of their sums:
//   dV = P^T dO, dP = dO V^T, dS = P (dP - delta), delta = sum over a head of O dO, dQ = scale dS K, dK = scale dS^T Q.
//
// `prepare` computes delta. `attention_backward`: a block has 64 keys of one key head for each of its Groups groups of four warps. It processes the
// query heads that share them and the queries that see them, 64 or 128 at a time, and keeps dK and dV in registers. Scores are computed transposed
// (64 keys by the queries), so that P^T and dS^T are left operands without a conversion. dS goes through shared memory, and each group multiplies a
// part of dQ by all keys of the block. The part of a block in dQ is added in global memory in float32, in the order of the blocks of keys: two warps,
// in turn, wait until the previous block has added. Blocks take numbers in that order when they start, so that none waits for one that has not
// started. `finish` rounds dQ.
// Registers: scores and dP of 64 keys (half the queries each), dK (D / 2), dV (E / 2), a part of dQ. Shared memory: keys, values, two tiles of
// queries and of dO, two of dS, one of dQ in float32.
//
// Operations for B4, 32 query heads over 8 key heads, 8192 tokens, D = E = 64, causal: 2.75 TFLOP, 3.48 ms at 790 TFLOP/s; sums of dQ of 8.7 GB go
// through the second-level cache. Measured on one H200 with all four launches: 5.55 ms, 63 % of that rate; D = E = 128: 10.5 ms, 66 %.
#include "attention_backward.cuh"
#include "attention_gradients.cuh"
#include "AttentionBackwardStart.cuh"
#include "AttentionBackwardFinish.cuh"

struct Backward {
    const AttentionArguments& args;
    u16* front;
    Place keys, values, queries, gradients, pairs, sums;
    Place blockFull, queryFull, queryEmpty, gradientFull, gradientEmpty, sumsFull, sumsEmpty;
    float *sumsAt, *logarithms, *deltas;
    int *records, *ticket;
    int warp, lane, row, keyHead, block, perHead, queryBlocks;

    __device__ __forceinline__ explicit Backward(const AttentionArguments& arguments) : args(arguments) {
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
        records = reinterpret_cast<int*>(deltas + 2 * Queries);
        ticket = records + 2 * RecordSize;
        blockFull = place_of(reinterpret_cast<u16*>(ticket + 2));
        queryFull = blockFull + 4;
        queryEmpty = queryFull + 8;
        gradientFull = queryEmpty + 8;
        gradientEmpty = gradientFull + 8;
        sumsFull = gradientEmpty + 8;
        sumsEmpty = sumsFull + 8;
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        perHead = static_cast<int>(args.heads / args.keyHeads);
        queryBlocks = static_cast<int>((args.queries + Queries - 1) / Queries);
    }

    __device__ __forceinline__ void open() {
        if (threadIdx.x == 0) {
            open_barrier(blockFull, 1);
            for (int i = 0; i < 2; i++) {
                open_barrier(queryFull + 4 * i, RecordLanes);
                open_barrier(queryEmpty + 4 * i, RecordLanes * (4 * KeyGroups + 1));
                open_barrier(gradientFull + 4 * i, 1);
                open_barrier(gradientEmpty + 4 * i, 4 * KeyGroups);
                open_barrier(sumsFull + 4 * i, 4 * KeyGroups);
            }
            open_barrier(sumsEmpty, 1);
            *ticket = take_ticket(args.ticket);
        }
        __syncthreads();
        const LineBlock at = line_block_of(args, uniform(*ticket), static_cast<int>(args.batch * args.keyHeads),
            static_cast<int>((args.keys + Keys - 1) / Keys));
        block = at.block;
        row = at.line / static_cast<int>(args.keyHeads);
        keyHead = at.line % static_cast<int>(args.keyHeads);
    }

    // ---- the warp that loads, and writes the record of each step ----

    // The record of a step, in its stage: query head (below 0: no more steps), first query, the number of blocks that add to its dQ before, and the
    // keys that all queries see; then, for each query, the first and one past the last key in the window and, with sinks, of the sinks.
    struct StepRecord { int head, query, rank, inner, innerEnd; };

    __device__ __forceinline__ StepRecord read_record(int stage) const {
        const int* record = records + stage * RecordSize;
        return {uniform(record[0]), uniform(record[1]), record[2], uniform(record[3]), uniform(record[4])};
    }

    __device__ __forceinline__ void write_record(int stage, int head, int query, const BlockList& blocks, const Range& range) const {
        int* record = records + stage * RecordSize;
        if (lane == 0) {
            record[0] = head;
            record[1] = query;
            record[2] = blocks.rank(block);
            record[3] = range.inner;
            record[4] = range.innerEnd;
        }
        if (head < 0 || sees_all(range, block * Keys, Keys)) return;
        for (int i = lane; i < Queries; i += 32) write_bounds(record + 8, Queries, i, args, row, query + i);
    }

    __device__ __forceinline__ void load_step(const Turn<2>& turn, int head, int query, const BlockList& blocks, const Range& range) const {
        wait_for_copies(queryEmpty + 4 * turn.stage, turn.parity ^ 1);
        write_record(turn.stage, head, query, blocks, range);
        sync_warp();
        const i64 at = (row * args.heads + head) * rounded_up(args.queries, 128) + query;
        if (lane == 0) {
            const Place full = queryFull + 4 * turn.stage;
            expect(full, 2 * QuerySize + 4 * Queries);
            for (int t = 0; t < DTiles; t++)
                for (int offset = 0; offset < Queries; offset += 64)
                    copy_head(queries + turn.stage * QuerySize + (t * Queries + offset) * 64, args.query, 64 * t, head, query + offset, row, full);
            copy_in(place_of(reinterpret_cast<u16*>(logarithms + turn.stage * Queries)), args.logarithms + at, 4 * Queries, full);
        } else if (lane < RecordLanes) arrive_at(queryFull + 4 * turn.stage);
        sync_warp();
        wait_for_copies(gradientEmpty + 4 * turn.stage, turn.parity ^ 1);
        if (lane == 0) {
            const Place full = gradientFull + 4 * turn.stage;
            expect(full, 2 * GradientSize + 4 * Queries);
            for (int t = 0; t < ETiles; t++)
                for (int offset = 0; offset < Queries; offset += 64)
                    copy_head(gradients + turn.stage * GradientSize + (t * Queries + offset) * 64, args.gradient, 64 * t, head, query + offset, row,
                        full);
            copy_in(place_of(reinterpret_cast<u16*>(deltas + turn.stage * Queries)), args.delta + at, 4 * Queries, full);
        }
        sync_warp();
    }

    __device__ __forceinline__ void produce() const {
        if (lane == 0) {
            expect(blockFull, 2 * (KeySize + ValueSize));
            for (int offset = 0; offset < Keys; offset += 64) {
                for (int t = 0; t < DTiles; t++)
                    copy_head(keys + (t * Keys + offset) * 64, args.key, 64 * t, keyHead, block * Keys + offset, row, blockFull);
                for (int t = 0; t < ETiles; t++)
                    copy_head(values + (t * Keys + offset) * 64, args.value, 64 * t, keyHead, block * Keys + offset, row, blockFull);
            }
        }
        sync_warp();
        const Span span = visitors_of(args, row, block);
        Turn<2> turn;
        for (int i = 0; i < span.last - span.first; i++) {
            // Starts with the last queries, which all blocks of keys see. With sinks, starts with the first, where the block of the sinks is ahead of
            // the blocks that wait for it.
            const int query = (Sinks ? span.first + i : span.last - 1 - i) * Queries;
            const Range range = range_of(args, row, query, Queries);
            const BlockList blocks(range, Keys);
            if (!blocks.contains(block)) continue;
            for (int headOfGroup = 0; headOfGroup < perHead; headOfGroup++, turn.next()) load_step(turn, keyHead * perHead + headOfGroup, query,
                blocks, range);
        }
        for (int i = 0; i < 2; i++, turn.next()) {
            wait_for_copies(queryEmpty + 4 * turn.stage, turn.parity ^ 1);
            if (lane == 0) records[turn.stage * RecordSize] = -1;
            release_record(queryFull + 4 * turn.stage);
        }
    }

    // ---- the two warps that add to dQ, one for every other step ----

    __device__ __forceinline__ void release(Place barrier) const {
        sync_warp();
        if (lane == 0) arrive_at(barrier);
    }

    // The same at the barrier of a record.
    __device__ __forceinline__ void release_record(Place barrier) const {
        sync_warp();
        if (lane < RecordLanes) arrive_at(barrier);
    }

    __device__ __forceinline__ void add_up(int stage) const {
        for (unsigned parity = 0;; parity ^= 1) {
            wait_for_copies(queryFull + 4 * stage, parity);
            const StepRecord record = read_record(stage);
            release_record(queryEmpty + 4 * stage);
            if (record.head < 0) return;
            const i64 at = (row * args.heads + record.head) * queryBlocks + record.query / Queries;
            // While the products are still running.
            if (lane == 0) wait_for_turn(args.turns + at, record.rank);
            sync_warp();
            wait_for_copies(sumsFull + 4 * stage, parity);
            if (lane == 0) {
                if (record.rank > 0) copy_sums_out<true>(args.dQuerySums + at * SumsSize, sums, 4 * SumsSize);
                else copy_sums_out<false>(args.dQuerySums + at * SumsSize, sums, 4 * SumsSize);
                copied_out();
                arrive_at(sumsEmpty);
                written_out();
                pass_turn(args.turns + at, record.rank + 1);
            }
            sync_warp();
        }
    }

    // ---- the groups that multiply ----

    // The 64 keys of the group by the queries of a stage.
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

    // Computes sums += left times the rows of queries of a tile.
    template <int Columns> __device__ __forceinline__ void start_sums(float (&to)[Columns / 2], const unsigned (&left)[QuerySteps][4],
        Place tile) const {
        open_products();
#pragma unroll
        for (int k = 0; k < QuerySteps; k++) start_products<Columns, 0, true>(to, left[k], tile, 16 * k, 0, Queries * 64, true);
        close_products();
    }

    // The part of the group in dS K.
    __device__ __forceinline__ void start_part(float (&part)[PartColumns / 2], int group, int turn) const {
        const int firstRow = RowParts ? 64 * group : 0, firstColumn = RowParts ? 0 : PartColumns * group;
        open_products();
#pragma unroll
        for (int k = 0; k < Keys / 16; k++)
            start_products<PartColumns, 0, true>(part, slice(pairs + turn * PairSize + k / 4 * Queries * 64, firstRow, k % 4 * 16, Queries * 64),
                keys, 16 * k, firstColumn, Keys * 64, k > 0);
        close_products();
    }

    // Converts scores to probabilities.
    __device__ __forceinline__ void exponentiate(float (&scores)[Queries / 2], const StepRecord& record, int group, int stage) const {
        const int key = block * Keys + 64 * group;
        exponentiate_by_keys(args, scores, logarithms + stage * Queries);
        if (key < record.inner || key + 64 > record.innerEnd) hide_by_keys<Queries>(scores, records + stage * RecordSize + 8, key + warp % 4 * 16);
    }

    // Writes dS of the keys of the group, transposed, to the tile of pairs.
    __device__ __forceinline__ void store_pairs(const unsigned (&operands)[QuerySteps][4], int group, int turn) const {
        const Place to = pairs + turn * PairSize + group * Queries * 64;
#pragma unroll
        for (int k = 0; k < QuerySteps; k++)
            // The blocks of the operand: keys 0, keys 8; then both of queries 8 on.
            store_blocks<true>(to + swizzled(16 * k + lane / 16 * 8 + lane % 8, warp % 4 * 16 + lane / 8 % 2 * 8), operands[k]);
        publish();
    }

    __device__ __forceinline__ void store_part(const float (&part)[PartColumns / 2], int group, int stage) const {
        const int firstPart = RowParts ? group * (D / 8) : group * (PartColumns / 8), threadOfGroup = threadIdx.x % 128;
#pragma unroll
        for (int n = 0; n < PartColumns / 8; n++) {
            const float values_[4] = {part[4 * n], part[4 * n + 1], part[4 * n + 2], part[4 * n + 3]};
            store<float, 4>(sumsAt, ((firstPart + n) * 128 + threadOfGroup) * 4, values_);
        }
        publish();
        release(sumsFull + 4 * stage);
    }

    // Writes 64 rows of dK or dV of a group, rounded, to the buffer of its keys or values.
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
        store_rows<D>(dKey, keys, group, args.scale);
        store_rows<E>(dValue, values, group, 1.f);
        publish();
        meet(2 + group, 128);
        const int token = block * Keys + 64 * group;
        if (threadIdx.x % 128 == 0 && token < args.keys) {
            for (int t = 0; t < DTiles; t++) copy_head_out(args.dKey, 64 * t, keyHead, token, row, keys + (t * Keys + 64 * group) * 64);
            for (int t = 0; t < ETiles; t++) copy_head_out(args.dValue, 64 * t, keyHead, token, row, values + (t * Keys + 64 * group) * 64);
            copied_out();
        }
    }

    // Products follow each other without a gap: scores of the next step are multiplied while dQ is written, dP while exponentials are computed, dV
    // while dS is computed. Only dV is running between iterations of the loop.
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
        StepRecord record = read_record(0);
        if (record.head >= 0) {
            start_scores(scores, group, 0);
            wait_for_copies(gradientFull, 0);
            start_slopes(slopes, group, 0);
            wait_for_products<1>();
            settle(scores);
            exponentiate(scores, record, group, 0);
            as_operands(probabilities, scores);
            start_sums<E>(dValue, probabilities, gradients);
            wait_for_products<1>();
            settle(slopes);
            while (true) {
                float part[PartColumns / 2];
                unsigned pairs_[QuerySteps][4];
                const int stage = turn.stage;
                differentiate_by_keys(args, slopes, probabilities, logarithms + stage * Queries, deltas + stage * Queries);
                as_operands(pairs_, slopes);
                store_pairs(pairs_, group, stage);
                meet(1, 128 * KeyGroups);
                start_part(part, group, stage);
                start_sums<D>(dKey, pairs_, queries + stage * QuerySize);
                turn.next();
                wait_for_copies(queryFull + 4 * turn.stage, turn.parity);
                record = read_record(turn.stage);
                wait_for_products<1>();
                settle(part);
                wait_for_copies(sumsEmpty, sumsParity);
                sumsParity ^= 1;
                store_part(part, group, stage);
                if (record.head < 0) break;
                start_scores(scores, group, turn.stage);
                wait_for_products<1>();
                release_record(queryEmpty + 4 * stage);
                release(gradientEmpty + 4 * stage);
                wait_for_copies(gradientFull + 4 * turn.stage, turn.parity);
                start_slopes(slopes, group, turn.stage);
                wait_for_products<1>();
                settle(scores);
                exponentiate(scores, record, group, turn.stage);
                as_operands(probabilities, scores);
                start_sums<E>(dValue, probabilities, gradients + turn.stage * GradientSize);
                wait_for_products<1>();
                settle(slopes);
            }
            wait_for_products<0>();
            settle(dKey);
            settle(dValue);
            release_record(queryEmpty + 4 * (turn.stage ^ 1));
        }
        finish(dKey, dValue, group);
    }
};

__device__ __forceinline__ void attention_backward_(const AttentionArguments& args) {
    Backward backward(args);
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
KERNEL(attention_prepare, 256, AttentionArguments, attention_prepare_)
KERNEL(attention_finish, 128, AttentionArguments, attention_finish_)
KERNEL(attention_visitors, 128, AttentionArguments, attention_visitors_)
