// What runs after the backward kernel of attention, with the same sizes of blocks (AttentionBackward.cu).
#pragma once
#include "attention_backward.cuh"

// dQ scaled and rounded, by 128 threads for 64 queries of a head, with the distribution of a group.
__device__ __forceinline__ void attention_finish_(const AttentionArguments& args) {
    const i64 queryBlocks = (args.queries + Queries - 1) / Queries;
    const int part = static_cast<int>(blockIdx.x) % (Queries / 64), number = static_cast<int>(blockIdx.x) / (Queries / 64), head =
        static_cast<int>(blockIdx.y % args.heads), thread = threadIdx.x;
    const i64 row = blockIdx.y / args.heads + static_cast<i64>(blockIdx.z) * (65535 / args.heads);
    if (row >= args.batch) return;
    const bool any = BlockList(range_of(args, row, number * Queries, Queries), Keys).count() > 0;
    const float* from = args.dQuerySums + ((row * args.heads + head) * queryBlocks + number) * SumsSize;
    const int query = number * Queries + 64 * part + thread / 32 * 16 + thread % 32 / 4;
    // Four pieces of 8 columns at a time: the lanes of a quad have two columns of each, and exchange them so that each writes a whole piece.
#pragma unroll
    for (int n = 0; n < SumColumns / 8; n += 4) {
        Word<16> words[2];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            Raw<float, 4> sums = {};
            if (any && n + i < SumColumns / 8) sums = load_raw<float, 4>(from, ((part * (SumColumns / 8) + n + i) * 128 + thread) * 4);
#pragma unroll
            for (int half = 0; half < 2; half++) words[half].words[i] = round_to_bfloat16_pair(sums[2 * half] * args.scale,
                sums[2 * half + 1] * args.scale);
        }
        const int column = 8 * (n + thread % 4);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            transpose_quad(words[half].words);
            if (query + 8 * half < args.queries && column < args.querySize)
                *reinterpret_cast<Word<16>*>(static_cast<u16*>(args.dQuery)
                    + ((row * args.queries + query + 8 * half) * args.heads + head) * args.querySize
                    + column) = words[half];
        }
    }
}
