// Gradients of softmax attention by products of single warps (mma.sync m16n8k16) in bfloat16, on compute capability 8.0 and later, for heads of up to
// 128 elements (AttentionWideKeyGradients.cu and AttentionWideQueryGradients.cu serve larger ones). With P the probabilities, computed again from
// scores and the logarithms of their sums:
//   dV = P^T dO, dP = dO V^T, dS = P (dP - delta), delta = sum over a head of O dO, dQ = scale dS K, dK = scale dS^T Q.
//
// `prepare` computes delta. Two kernels multiply, and each computes scores and dP for itself: seven products where AttentionBackward.cu has five. In
// return, no sum passes through global memory, nothing waits for another block, and the order of every sum is fixed.
// `key_gradients`: a block has 128 keys of one key head, 16 or 32 for each warp. It processes the query heads that share them and the queries that
// see them, 32 or 64 at a time. Scores are computed transposed, so that P^T and dS^T are left operands in registers.
// `query_gradients`: a block has 128 queries of one head and processes the keys that they see, 32 or 64 at a time.
// What no query of a tile sees is neither loaded nor multiplied, and only tiles at an edge compare positions.
// Registers for 16 rows: dK (D / 2) and dV (E / 2), or dQ (D / 2); scores, then P in bfloat16; dP, then dS in bfloat16.
// Shared memory: keys and values (or queries and dO) of the block, and one or two tiles of the others, of which the next one arrives ahead.
//
// Operations for B4, 32 query heads over 8 key heads, 8192 tokens, D = E = 64, causal: 3.85 TFLOP, 12.3 ms at the 312 TFLOP/s of an A100.
#include "attention_key_block.cuh"
#include "attention_query_block.cuh"

struct KeyGradients : KeyBlock {
    int warp, warpKey;

    __device__ __forceinline__ explicit KeyGradients(const AttentionArguments& arguments) : KeyBlock(arguments, 0) {
        warp = uniform(threadIdx.x / 32);
        warpKey = block * Rows + warp * WarpRows;
    }

    // Whether a query of the step may see a key of the warp.
    __device__ __forceinline__ bool visits(const Range& range) const {
        const int end = warpKey + WarpRows;
        return (range.low < end && range.high > warpKey) || (Sinks && range.sinkLow < end && range.sinkHigh > warpKey);
    }

    __device__ __forceinline__ void add_step(float (&dKey)[RowTiles][D / 2], float (&dValue)[RowTiles][E / 2], const Range& range, int stage) const {
        u16* from = stage_at(stage);
        const Place queries = place_of(from), gradients = place_of(from + GradientsAt);
        const float *logarithms = reinterpret_cast<const float*>(from + NumbersAt), *deltas = reinterpret_cast<const float*>(from + DeltasAt);
        const int* bounds = reinterpret_cast<const int*>(from + BoundsAt);
        const bool all = sees_all(range, warpKey, WarpRows);
        unsigned operands[RowTiles][TileSteps][4];
        {
            float scores[RowTiles][Tile / 2];
            multiply_rows<DSteps, DPitch>(scores, SharedRows<DPitch>(keys() + warp * WarpRows * DPitch), queries);
#pragma unroll
            for (int t = 0; t < RowTiles; t++) {
                exponentiate_by_keys(args, scores[t], logarithms);
                if (!all) hide_by_keys<Tile>(scores[t], bounds, warpKey + 16 * t);
                as_operands(operands[t], scores[t]);
            }
        }
        add_columns<E, EPitch>(dValue, operands, gradients);
        float slopes[RowTiles][Tile / 2];
        multiply_rows<ESteps, EPitch>(slopes, SharedRows<EPitch>(values() + warp * WarpRows * EPitch), gradients);
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            differentiate_by_keys(args, slopes[t], operands[t], logarithms, deltas);
            as_operands(operands[t], slopes[t]);
        }
        add_columns<D, DPitch>(dKey, operands, queries);
    }

    __device__ __forceinline__ void run() const {
        const Span span = visitors_of(args, row, block);
        load_front();
        Step step = step_from(span.last - 1, span.first);
        load_step(step, 0);
        float dKey[RowTiles][D / 2], dValue[RowTiles][E / 2];
        clear(dKey);
        clear(dValue);
        for (int stage = 0; step.head >= 0;) {
            meet_copies();
            const Step next = step_after(step, span.first);
            if (Stages == 2) load_step(next, stage ^ 1);
            if (uniform(visits(step.range))) add_step(dKey, dValue, step.range, stage);
            if (Stages == 1) {
                __syncthreads();
                load_step(next, 0);
            } else stage ^= 1;
            step = next;
        }
        copy_wait<0>();
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            write_rows<D>(dKey[t], args.scale, args.scale, heads_of(args.dKey), row, keyHead, warpKey + 16 * t, args.keys, args.querySize);
            write_rows<E>(dValue[t], 1, 1, heads_of(args.dValue), row, keyHead, warpKey + 16 * t, args.keys, args.valueSize);
        }
    }
};

struct QueryGradients : QueryBlock {
    int warp, lane, warpQuery;

    __device__ __forceinline__ explicit QueryGradients(const AttentionArguments& arguments) : QueryBlock(arguments, 0) {
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        warpQuery = firstQuery + warp * WarpRows;
    }

    __device__ __forceinline__ void add_block(float (&dQuery)[RowTiles][D / 2], const Numbers& numbers, const Range& seen, int block,
        int stage) const {
        const Place keys = place_of(stage_at(stage)), values = place_of(stage_at(stage) + ValuesAt);
        unsigned operands[RowTiles][TileSteps][4];
        {
            float scores[RowTiles][Tile / 2];
            multiply_rows<DSteps, DPitch>(scores, SharedRows<DPitch>(queries() + warp * WarpRows * DPitch), keys);
#pragma unroll
            for (int t = 0; t < RowTiles; t++) {
                cap_scores(args, scores[t]);
                hide_keys<Rows>(scores[t], bounds + 2 * (warp * WarpRows + 16 * t + lane / 4), seen.inner, seen.innerEnd, block * Tile);
                exponentiate_by_queries(args, scores[t], numbers.logarithms[t]);
                as_operands(operands[t], scores[t]);
            }
        }
        float slopes[RowTiles][Tile / 2];
        multiply_rows<ESteps, EPitch>(slopes, SharedRows<EPitch>(gradients() + warp * WarpRows * EPitch), values);
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            differentiate_by_queries(args, slopes[t], operands[t], numbers.logarithms[t], numbers.deltas[t]);
            as_operands(operands[t], slopes[t]);
        }
        add_columns<D, DPitch>(dQuery, operands, keys);
    }

    __device__ __forceinline__ void run() const {
        const BlockList blocks(range_of(args, row, firstQuery, Rows), Tile);
        const int count = blocks.count();
        load_front();
        if (count > 0) load_block(blocks.at(0), 0);
        for (int i = threadIdx.x; i < Rows; i += Threads) write_bounds(bounds, Rows, i, args, row, firstQuery + i);
        const Range seen = range_of_warp(args, row, warpQuery);
        const BlockList visited(seen, Tile);
        Numbers numbers;
        load_numbers(numbers, warpQuery);
        float dQuery[RowTiles][D / 2];
        clear(dQuery);
        for (int i = 0, stage = 0; i < count; i++) {
            const int block = blocks.at(i);
            meet_copies();
            if (Stages == 2 && i + 1 < count) load_block(blocks.at(i + 1), stage ^ 1);
            if (uniform(visited.contains(block))) add_block(dQuery, numbers, seen, block, stage);
            if (Stages == 1) {
                __syncthreads();
                if (i + 1 < count) load_block(blocks.at(i + 1), 0);
            } else stage ^= 1;
        }
        copy_wait<0>();
        const Heads to = query_gradient();
#pragma unroll
        for (int t = 0; t < RowTiles; t++)
            write_rows<D>(dQuery[t], args.scale, args.scale, to, row, head, warpQuery + 16 * t, args.queries, args.querySize);
    }
};

__device__ __forceinline__ void attention_key_gradients_(const AttentionArguments& args) { KeyGradients(args).run(); }
__device__ __forceinline__ void attention_query_gradients_(const AttentionArguments& args) { QueryGradients(args).run(); }

KERNEL_OF(attention_key_gradients, Threads, Warps > 4 ? 1 : 2, AttentionArguments, attention_key_gradients_)
KERNEL_OF(attention_query_gradients, Threads, Warps > 4 ? 1 : 2, AttentionArguments, attention_query_gradients_)
KERNEL(attention_prepare, 256, AttentionArguments, attention_prepare_)
KERNEL(attention_visitors, 128, AttentionArguments, attention_visitors_)
