// Gradients of keys and values of softmax attention for heads of 129 to 256 elements (of queries and keys, of values, or of both), by products of
// single warps (mma.sync m16n8k16) in bfloat16, on compute capability 8.0 and later. See AttentionWarpBackward.cu for the formulas; it serves smaller
// heads. AttentionWideQueryGradients.cu computes the gradient of queries.
//
// Tiles: a block has 64 keys of one key head. It processes the query heads that share them and the queries that see them, 64, 32 or 16 at a time, as
// shared memory permits. attention_wide.cuh says how its eight warps divide a step. Group 0 computes scores, from them P^T, and adds P^T dO to dV.
// Group 1 computes dP^T, reads P^T, computes dS^T, and adds dS^T Q to dK. Both groups have the same number of products, for all sizes. Group 1 waits
// during the exponentials of group 0, and group 0 while group 1 computes slopes: if it added to dV instead, both gradients together would take 1.5 %
// less time, but racecheck could not follow a barrier of one group.
// Registers of a thread: dV or dK (2 numbers for each 4 of the larger head size: 128 for 256), scores (32 for 64 queries), operands (20 to 24): below
// the 255 that eight warps permit. dV and dK of 128 keys together would fill all registers of a multiprocessor.
// Shared memory: keys and values, P^T and dS^T, and one or two tiles of queries and dO with logarithms, delta and bounds. For sizes of 256 that are
// 223,232 bytes with two tiles of 64 queries (9.0: up to 232,448), 146,432 with two of 32 (8.0: 166,912) and 90,880 with one of 16 (8.6, 8.9 and
// 12.x: 101,376), and 8 more a query with sinks.
//
// For B1, 16 query heads over 4 key heads, 8192 tokens, D = E = 256, causal: 4 products, 1.10 TFLOP; tiles of queries and dO pass through the
// second-level cache 8.6 GB (128 operations a byte). A step of 64 queries has 2,048 mma instructions, and its operands take 3,072 of the 128-byte
// cycles of shared memory (2 for each of the 1,024 products of 32 x 32 scores, 1 for each of the others), copies and pairs 720 more. With a
// multiplier that takes an mma.sync in 1.6 cycles (9.0), shared memory is the limit: 510 TFLOP/s, 2.2 ms. With the query gradients, 1.92 TFLOP take
// 4.1 ms at 474 TFLOP/s, which is 60 % of what wgmma reaches. On an H200, both took 6.2 ms (310 TFLOP/s), and those of cuDNN 3.8.
#include "attention_wide.cuh"
#include "attention_key_block.cuh"

struct KeyGradients : KeyBlock {
    static constexpr int SumTiles = Rows / 16;

    WarpPart part;
    u16 *probabilities, *slopes;  // P^T and dS^T: Rows x Tile

    __device__ __forceinline__ explicit KeyGradients(const AttentionArguments& arguments) : KeyBlock(arguments, 2 * PairSize) {
        probabilities = front + FrontSize;
        slopes = probabilities + PairSize;
    }

    // The logarithms (NumbersAt) or delta (DeltasAt) of the queries of a warp.
    __device__ __forceinline__ const float* numbers(int stage, int at) const {
        return reinterpret_cast<const float*>(stage_at(stage) + at) + part.column;
    }

    using Scores = float[RowTiles][WarpColumns / 2];

    // Group 0: P^T.
    __device__ __forceinline__ void write_probabilities(Scores& scores, const Range& range, int stage) const {
        multiply_part<DSteps, DPitch>(scores, part, keys(), place_of(stage_at(stage)));
        const bool all = sees_all(range, block * Rows, Rows);
        const int* bounds = reinterpret_cast<const int*>(stage_at(stage) + BoundsAt) + 2 * part.column;
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            unsigned words[WarpSteps][4];
            exponentiate_by_keys(args, scores[t], numbers(stage, NumbersAt));
            if (!all) hide_by_keys<Tile>(scores[t], bounds, block * Rows + part.row + 16 * t);
            as_operands(words, scores[t]);
            part.write_pairs(probabilities, words, t);
        }
    }

    // Group 1: dS^T from dP^T.
    __device__ __forceinline__ void write_slopes(Scores& gradients, int stage) const {
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            unsigned words[WarpSteps][4];
            part.read_pairs(words, probabilities, t);
            differentiate_by_keys(args, gradients[t], words, numbers(stage, NumbersAt), numbers(stage, DeltasAt));
            as_operands(words, gradients[t]);
            part.write_pairs(slopes, words, t);
        }
    }

    // Group 0 adds to dV, and group 1 to dK.
    __device__ __forceinline__ void add(float (&sums)[SumTiles][MaxQuarter / 2], const Range& range, int stage) const {
        {
            Scores scores;
            if (part.group == 0) write_probabilities(scores, range, stage);
            else multiply_part<ESteps, EPitch>(scores, part, values(), place_of(stage_at(stage) + GradientsAt));
            __syncthreads();
            if (part.group == 1) write_slopes(scores, stage);
        }
        __syncthreads();
        if (part.group == 0) add_quarter<E>(sums, place_of(probabilities), 0, place_of(stage_at(stage) + GradientsAt), part.quarter);
        else add_quarter<D>(sums, place_of(slopes), 0, place_of(stage_at(stage)), part.quarter);
    }

    __device__ __forceinline__ void run() const {
        const Span span = visitors_of(args, row, block);
        load_front();
        Step step = step_from(span.last - 1, span.first);
        load_step(step, 0);
        float sums[SumTiles][MaxQuarter / 2];
        clear(sums);
        for (int stage = 0; step.head >= 0;) {
            meet_copies();
            const Step next = step_after(step, span.first);
            if (Stages == 2) load_step(next, stage ^ 1);
            add(sums, step.range, stage);
            if (Stages == 1) {
                __syncthreads();
                load_step(next, 0);
            } else stage ^= 1;
            step = next;
        }
        copy_wait<0>();
        if (part.group == 0)
            write_quarter<E>(sums, 1, heads_of(args.dValue), row, keyHead, block * Rows, args.keys, args.valueSize, part.quarter);
        else write_quarter<D>(sums, args.scale, heads_of(args.dKey), row, keyHead, block * Rows, args.keys, args.querySize, part.quarter);
    }
};

__device__ __forceinline__ void attention_key_gradients_(const AttentionArguments& args) { KeyGradients(args).run(); }

KERNEL_OF(attention_key_gradients, Threads, 1, AttentionArguments, attention_key_gradients_)
KERNEL(attention_prepare, 256, AttentionArguments, attention_prepare_)
KERNEL(attention_visitors, 128, AttentionArguments, attention_visitors_)
