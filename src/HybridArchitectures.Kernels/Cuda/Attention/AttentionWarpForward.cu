// Softmax attention forward by products of single warps (mma.sync m16n8k16) in bfloat16, on compute capability 8.0 and later:
// output = softmax(scale q k^T) v over the keys that each query sees, and the logarithm of the sum of each query. AttentionForward.cu computes the
// same on 9.0.
//
// Tiles: a block has 64 or 128 queries of one head, 16 or 32 for each warp, and processes the keys that they see, 32 or 64 at a time, from the last
// one back. Keys that no query of the block sees are neither loaded nor multiplied, and a warp skips tiles that none of its queries sees. Only tiles
// at an edge compare positions. Blocks with most keys come first. The query heads of one key head share its keys and values through the second-level
// cache.
// Registers: scores (32 or 64 per thread), the same as probabilities in bfloat16, output (E / 2 for 16 queries), queries if there are few, maximum
// and sum of each query.
// Shared memory: queries, one tile of keys, one of values. The values of a tile arrive while its scores are multiplied, and the keys of the next one
// while exponentials are computed and values multiplied. Two blocks on a multiprocessor fill the waits of each other, for heads up to 128.
//
// Operations for B4, 32 query heads over 8 key heads, 8192 tokens, D = E = 64, causal: 1.10 TFLOP, 3.5 ms at the 312 TFLOP/s of an A100; D = E = 128:
// 7.0 ms.
#include "attention_warps.cuh"

struct Forward {
    const AttentionArguments& args;
    Place queries, keys, values;
    int* bounds;
    int warp, lane, row, head, keyHead, firstQuery, warpQuery;

    // Whether the operands of the queries fit in registers.
    static constexpr bool Held = RowTiles * DSteps <= 8;

    __device__ __forceinline__ explicit Forward(const AttentionArguments& arguments) : args(arguments) {
        DYNAMIC_SHARED(u16, shared);
        queries = place_of(shared);
        keys = queries + Rows * DPitch;
        values = keys + Tile * DPitch;
        bounds = reinterpret_cast<int*>(shared + Rows * DPitch + Tile * (DPitch + EPitch));
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        const int blocks = static_cast<int>((args.queries + Rows - 1) / Rows), heads = static_cast<int>(args.heads);
        const LineBlock at = line_block_of(args, static_cast<int>(blockIdx.x), static_cast<int>(args.batch) * heads, blocks);
        row = at.line / heads;
        head = at.line % heads;
        keyHead = head / static_cast<int>(args.heads / args.keyHeads);
        firstQuery = (blocks - 1 - at.block) * Rows;
        warpQuery = firstQuery + warp * WarpRows;
    }

    __device__ __forceinline__ void load_keys(int block) const {
        load_tokens<D, Tile>(keys, heads_of(args.key), row, keyHead, block * Tile, args.keys, args.querySize);
        copy_commit();
    }

    __device__ __forceinline__ void load_values(int block) const {
        load_tokens<E, Tile>(values, heads_of(args.value), row, keyHead, block * Tile, args.keys, args.valueSize);
        copy_commit();
    }

    // Scores become probabilities. Earlier sums follow the new maxima.
    __device__ __forceinline__ void exponentiate_scores(float (&scores)[RowTiles][Tile / 2], float (&sums)[RowTiles][E / 2],
        float (&maxima)[RowTiles][2], float (&totals)[RowTiles][2], const Range& seen, int firstKey) const {
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            float factors[2];
            cap_scores(args, scores[t]);
            hide_keys<Rows>(scores[t], bounds + 2 * (warp * WarpRows + 16 * t + lane / 4), seen.inner, seen.innerEnd, firstKey);
            exponentiate(args, scores[t], maxima[t], totals[t], factors);
#pragma unroll
            for (int i = 0; i < E / 2; i++) sums[t][i] *= factors[i % 4 / 2];
        }
    }

    __device__ __forceinline__ void finish(const float (&sums)[RowTiles][E / 2], const float (&maxima)[RowTiles][2],
        const float (&totals)[RowTiles][2]) const {
        const Heads output = heads_of(args.output);
        const i64 room = rounded_up(args.queries, 128);
#pragma unroll
        for (int t = 0; t < RowTiles; t++) {
            float factors[2];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const RowEnd end = end_of_row(args, head, maxima[t][half], totals[t][half]);
                const int query = warpQuery + 16 * t + lane / 4 + 8 * half;
                factors[half] = end.factor;
                if (args.logarithms && lane % 4 == 0 && query < args.queries)
                    args.logarithms[(row * args.heads + head) * room + query] = end.logarithm;
            }
            write_rows<E>(sums[t], factors[0], factors[1], output, row, head, warpQuery + 16 * t, args.queries, args.valueSize);
        }
    }

    __device__ __forceinline__ void run() const {
        const BlockList blocks(range_of(args, row, firstQuery, Rows), Tile);
        const int count = blocks.count();
        load_tokens<D, Rows>(queries, heads_of(args.query), row, head, firstQuery, args.queries, args.querySize);
        copy_commit();
        if (count > 0) load_keys(blocks.at(0));
        for (int i = threadIdx.x; i < Rows; i += Threads) write_bounds(bounds, Rows, i, args, row, firstQuery + i);
        const Range seen = range_of_warp(args, row, warpQuery);
        const BlockList visited(seen, Tile);
        float sums[RowTiles][E / 2], maxima[RowTiles][2], totals[RowTiles][2] = {};
        clear(sums);
#pragma unroll
        for (int t = 0; t < RowTiles; t++) maxima[t][0] = maxima[t][1] = minus_infinity();
        meet_copies();
        const SharedRows<DPitch> warpQueries(queries + warp * WarpRows * DPitch);
        HeldRows<Held ? DSteps : 1> held;
        if constexpr (Held) held.load(warpQueries);
        for (int i = 0; i < count; i++) {
            const int block = blocks.at(i);
            const bool visits = uniform(visited.contains(block));
            float scores[RowTiles][Tile / 2];
            load_values(block);
            if (visits) {
                if constexpr (Held) multiply_rows<DSteps, DPitch>(scores, held, keys);
                else multiply_rows<DSteps, DPitch>(scores, warpQueries, keys);
            }
            meet_copies();
            if (i + 1 < count) load_keys(blocks.at(i + 1));
            if (visits) {
                unsigned probabilities[RowTiles][TileSteps][4];
                exponentiate_scores(scores, sums, maxima, totals, seen, block * Tile);
#pragma unroll
                for (int t = 0; t < RowTiles; t++) as_operands(probabilities[t], scores[t]);
                add_columns<E, EPitch>(sums, probabilities, values);
            }
            meet_copies();
        }
        finish(sums, maxima, totals);
    }
};

__device__ __forceinline__ void attention_forward_(const AttentionArguments& args) { Forward(args).run(); }

KERNEL_OF(attention_forward, Threads, Warps > 4 ? 1 : 2, AttentionArguments, attention_forward_)
KERNEL(attention_ranges, 64, AttentionArguments, attention_ranges_)
