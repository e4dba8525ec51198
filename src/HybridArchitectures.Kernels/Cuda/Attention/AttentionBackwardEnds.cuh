// What runs before and after the backward kernel of attention, with the same sizes of blocks (AttentionBackward.cu).
#pragma once
#include "attention_backward.cuh"

// Before: delta, counters at zero, and `visitors` at (all blocks, 0). Eight lanes process output and gradient of a head; a block of 256 threads
// processes 32 heads of tokens.
__device__ __forceinline__ void attention_prepare_(const AttentionArguments& args) {
    const i64 room = rounded_up(args.queries, 128), thread = static_cast<i64>(blockIdx.x) * 256 + threadIdx.x, item = thread / 8;
    const i64 counters = args.batch * args.heads * ((args.queries + Queries - 1) / Queries);
    for (i64 i = thread; i < counters; i += static_cast<i64>(gridDim.x) * 256) args.turns[i] = 0;
    if (thread == 0) *args.ticket = 0;
    if (args.visitors) {
        const i64 ends = 2 * args.batch * ((args.keys + Keys - 1) / Keys);
        for (i64 i = thread; i < ends; i += static_cast<i64>(gridDim.x) * 256) args.visitors[i] = i % 2 ? 0
            : static_cast<int>((args.queries + Queries - 1) / Queries);
    }
    const i64 head = item % args.heads, token = item / args.heads % room, row = item / args.heads / room, to = (row * args.heads + head) * room
        + token;
    const bool there = row < args.batch, real = there && token < args.queries;
    float sum = 0;
    if (real)
        for (int e = threadIdx.x % 8 * 8; e < args.valueSize; e += 64) {
            const Raw<bfloat16, 8> output = load_raw<bfloat16,
                8>(args.plainOutput, ((row * args.queries + token) * args.heads + head) * args.valueSize + e);
            const Raw<bfloat16, 8> gradient = load_raw<bfloat16, 8>(args.plainGradient, row * args.gradientRow + token * args.gradientToken
                + head * args.gradientHead + e);
#pragma unroll
            for (int i = 0; i < 8; i++) sum += output[i] * gradient[i];
        }
    sum = lane_sum(sum, 8);
    if (threadIdx.x % 8 != 0 || !there) return;
    args.delta[to] = sum;
    if (!real) args.logarithms[to] = 0;
}

// After: dQ scaled and rounded, by 128 threads for 64 queries of a head, with the distribution of a group.
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

// With bounds, also before: the blocks of queries that visit a block of keys. A thread processes a block of queries.
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

__device__ __forceinline__ void attention_visitors_(const AttentionArguments& args) {
    const int queryBlocks = static_cast<int>((args.queries + Queries - 1) / Queries), number = static_cast<int>(blockIdx.x) * 128 + threadIdx.x;
    if (number >= queryBlocks) return;
    const i64 row = blockIdx.y, keyBlocks = (args.keys + Keys - 1) / Keys;
    const BlockList blocks(range_of(args, row, number * Queries, Queries), Keys);
    for (int i = 0; i < blocks.count(); i++) {
        int* at = args.visitors + (row * keyBlocks + blocks.at(i)) * 2;
        least(at, number);
        most(at + 1, number + 1);
    }
}
