// What runs before the backward kernels of attention. The file that includes this has Keys, the keys of a block of those kernels, and Queries, the
// queries that it processes at a time.
#pragma once
#include "attention.cuh"

// Delta, counters at zero (if there are any), and `visitors` at (all blocks, 0). Eight lanes process output and gradient of a head; a block of 256
// threads processes 32 heads of tokens.
__device__ __forceinline__ void attention_prepare_(const AttentionArguments& args) {
    const i64 room = rounded_up(args.queries, 128), thread = static_cast<i64>(blockIdx.x) * 256 + threadIdx.x, item = thread / 8;
    if (args.turns) {
        const i64 counters = args.batch * args.heads * ((args.queries + Queries - 1) / Queries);
        for (i64 i = thread; i < counters; i += static_cast<i64>(gridDim.x) * 256) args.turns[i] = 0;
        if (thread == 0) *args.ticket = 0;
    }
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

// With bounds, also the blocks of queries that visit a block of keys. A thread processes a block of queries.
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

// The range [x, y) of blocks of queries that can visit a block of keys.
struct Span { int first, last; };

__device__ __forceinline__ Span visitors_of(const AttentionArguments& args, i64 row, int block) {
    if (args.visitors) {
        const int* at = args.visitors + (row * ((args.keys + Keys - 1) / Keys) + block) * 2;
        return {at[0], at[1]};
    }
    // The first query that sees the first key, and the last query that sees the last key.
    const i64 before = args.keys - args.queries, firstKey = static_cast<i64>(block) * Keys, first = firstKey - before, last = firstKey
        + Keys - 1 - before + args.window;
    const bool all = last >= args.queries || (Sinks && firstKey < args.sinks);
    const int queryBlocks = static_cast<int>((args.queries + Queries - 1) / Queries);
    return {static_cast<int>(first > 0 ? first / Queries : 0), all ? queryBlocks : static_cast<int>(last > 0 ? (last + Queries - 1) / Queries : 0)};
}
