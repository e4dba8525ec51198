// Gradients of queries of softmax attention for heads of 129 to 256 elements (of queries and keys, of values, or of both), by products of single
// warps (mma.sync m16n8k16) in bfloat16, on compute capability 8.0 and later. See AttentionWarpBackward.cu for the formulas; it serves smaller heads.
// AttentionWideKeyGradients.cu runs before, and computes delta.
//
// Tiles: a block has 128 or 64 queries of one head and processes the keys that they see, 64, 32 or 16 at a time, as shared memory permits.
// attention_wide.cuh says how its eight warps divide a step. Group 0 computes scores and from them P. Group 1 computes dP and replaces P by dS. After
// that, all warps add dS K to dQ, each group for half of the rows.
// Registers of a thread: dQ (D / 2 for 128 queries, so 128 for 256), scores (32, or 64 for 64 keys at a time, with D up to 192), operands (20 to 24).
// Shared memory: queries and dO with their bounds, dS, and one or two tiles of keys and values. For sizes of 256 that are 214,016 bytes with 128
// queries and two tiles of 32 keys (9.0: up to 232,448), 140,800 with 64 queries and two tiles of 32 (8.0: 166,912) and 88,064 with one tile of 16
// (8.6, 8.9 and 12.x: 101,376), and 8 more a query with sinks.
//
// For B1, 16 query heads over 4 key heads, 8192 tokens, D = E = 256, causal: 3 products, 0.82 TFLOP; tiles of keys and values pass through the
// second-level cache 4.3 GB (192 operations a byte). A step of 32 keys has 1,536 mma instructions, and their operands take 2,560 of the 128-byte
// cycles of shared memory, copies and pairs 450 more. With a multiplier that takes an mma.sync in 1.6 cycles (9.0), shared memory is the limit: 480
// TFLOP/s, 1.7 ms, if exponentials and slopes did not wait for each other.
#include "attention_wide.cuh"
#include "attention_query_block.cuh"

struct QueryGradients : QueryBlock {
    static constexpr int SumRows = Rows / 2, SumTiles = SumRows / 16;

    WarpPart part;
    u16* pairs;  // P, then dS: Rows x Tile

    __device__ __forceinline__ explicit QueryGradients(const AttentionArguments& arguments) : QueryBlock(arguments, PairSize) {
        pairs = front + FrontSize;
    }

    using Scores = float[RowTiles][WarpColumns / 2];

    // Group 0: P.
    __device__ __forceinline__ void write_probabilities(Scores& scores, const Numbers& numbers, const Range& seen, int block, int stage) const {
        multiply_part<DSteps, DPitch>(scores, part, queries(), place_of(stage_at(stage)));
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            unsigned words[WarpSteps][4];
            cap_scores(args, scores[t]);
            hide_keys<Rows>(scores[t], bounds + 2 * (part.row + 16 * t + part.lane / 4), seen.inner, seen.innerEnd, block * Tile + part.column);
            exponentiate_by_queries(args, scores[t], numbers.logarithms[t]);
            as_operands(words, scores[t]);
            part.write_pairs(pairs, words, t);
        }
    }

    // Group 1: dS from dP. A lane replaces the probabilities that it has read.
    __device__ __forceinline__ void replace_by_slopes(Scores& slopes, const Numbers& numbers) const {
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            unsigned words[WarpSteps][4];
            part.read_pairs(words, pairs, t);
            differentiate_by_queries(args, slopes[t], words, numbers.logarithms[t], numbers.deltas[t]);
            as_operands(words, slopes[t]);
            part.write_pairs(pairs, words, t);
        }
    }

    __device__ __forceinline__ void run() const {
        const BlockList blocks(range_of(args, row, firstQuery, Rows), Tile);
        const int count = blocks.count(), warpQuery = firstQuery + part.row;
        load_front();
        if (count > 0) load_block(blocks.at(0), 0);
        for (int i = threadIdx.x; i < Rows; i += Threads) write_bounds(bounds, Rows, i, args, row, firstQuery + i);
        const Range seen = range_of_warp(args, row, warpQuery);
        Numbers numbers;
        load_numbers(numbers, warpQuery);
        float sums[SumTiles][MaxQuarter / 2];
        clear(sums);
        for (int i = 0, stage = 0; i < count; i++) {
            const int block = blocks.at(i);
            meet_copies();
            if (Stages == 2 && i + 1 < count) load_block(blocks.at(i + 1), stage ^ 1);
            {
                Scores scores;
                if (part.group == 0) write_probabilities(scores, numbers, seen, block, stage);
                else multiply_part<ESteps, EPitch>(scores, part, gradients(), place_of(stage_at(stage) + ValuesAt));
                __syncthreads();
                if (part.group == 1) replace_by_slopes(scores, numbers);
            }
            __syncthreads();
            add_quarter<D>(sums, place_of(pairs), part.group * SumRows, place_of(stage_at(stage)), part.quarter);
            if (Stages == 1) {
                __syncthreads();
                if (i + 1 < count) load_block(blocks.at(i + 1), 0);
            } else stage ^= 1;
        }
        copy_wait<0>();
        const int first = firstQuery + part.group * SumRows;
        write_quarter<D>(sums, args.scale, query_gradient(), row, head, first, args.queries, args.querySize, part.quarter);
    }
};

__device__ __forceinline__ void attention_query_gradients_(const AttentionArguments& args) { QueryGradients(args).run(); }

KERNEL_OF(attention_query_gradients, Threads, 1, AttentionArguments, attention_query_gradients_)
