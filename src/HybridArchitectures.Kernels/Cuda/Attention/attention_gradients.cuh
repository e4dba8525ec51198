// The gradients of a tile of scores in the registers of a warp. "By keys" means 16 keys as rows and queries as columns, as sums for dK and dV need
// it; "by queries" means 16 queries as rows, as sums for dQ need it.
#pragma once
#include "attention_softmax.cuh"

// ---- by keys: numbers of queries are in shared memory, from the first query of the tile on ----

// Converts scores to probabilities.
template <int Count> __device__ __forceinline__ void exponentiate_by_keys(const AttentionArguments& args, float (&scores)[Count],
    const float* logarithms) {
#pragma unroll
    for (int n = 0; n < Count / 4; n++) {
        const Two logarithm = *reinterpret_cast<const Two*>(logarithms + 2 * (threadIdx.x % 4) + 8 * n);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float score = scores[4 * n + i], exponent = Capped ? args.capLog2 * tanh_approximate(score * args.cap) : score * args.scaleLog2;
            scores[4 * n + i] = exp2_approximate(exponent - (i % 2 ? logarithm.y : logarithm.x));
        }
    }
}

// Zero for keys from `key` on that a query does not see. `bounds` are those of the first query, as `write_bounds` writes them for `Queries` queries.
template <int Queries, int Count> __device__ __forceinline__ void hide_by_keys(float (&probabilities)[Count], const int* bounds, int key) {
    const int laneKey = key + threadIdx.x % 32 / 4;
    bounds += 4 * (threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < Count / 4; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int* at = bounds + 16 * n + 2 * e;
            const int low = at[0], end = at[1];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int key_ = laneKey + 8 * half;
                bool seen = key_ >= low && key_ < end;
                if constexpr (Sinks) seen |= key_ >= at[2 * Queries] && key_ < at[2 * Queries + 1];
                if (!seen) probabilities[4 * n + 2 * half + e] = 0;
            }
        }
}

// The derivative of a capped score with respect to the score: 1 - tanh^2, from the probability. It is finite for a probability of 0, with which it is
// multiplied. Other probabilities are at least 2^-126.
__device__ __forceinline__ float slope_of_cap(const AttentionArguments& args, float probability, float logarithm) {
    const float part = (log2_approximate(greater_of(probability, 1.17549435e-38f)) + logarithm) * (1 / args.capLog2);
    return 1 - part * part;
}

// Converts gradients of the probabilities to gradients of the scores. Probabilities are used as rounded for dV, so that the registers of float32 ones
// are free.
template <int Steps, int Count> __device__ __forceinline__ void differentiate_by_keys(const AttentionArguments& args, float (&slopes)[Count],
    const unsigned (&probabilities)[Steps][4], const float* logarithms, const float* deltas) {
    static_assert(Count == 8 * Steps, "16 columns a step");
    const int first = 2 * (threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < Count / 4; n++) {
        const Two delta = *reinterpret_cast<const Two*>(deltas + first + 8 * n);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const unsigned word = probabilities[n / 2][n % 2 * 2 + half];
            float* slope = slopes + 4 * n + 2 * half;
            slope[0] = first_of(word) * (slope[0] - delta.x);
            slope[1] = second_of(word) * (slope[1] - delta.y);
            if constexpr (Capped) {
                const Two logarithm = *reinterpret_cast<const Two*>(logarithms + first + 8 * n);
                slope[0] *= slope_of_cap(args, first_of(word), logarithm.x);
                slope[1] *= slope_of_cap(args, second_of(word), logarithm.y);
            }
        }
    }
}

// ---- by queries: a lane has the numbers of its two queries in registers ----

// Converts scores that are capped and hidden to probabilities.
template <int Count> __device__ __forceinline__ void exponentiate_by_queries(const AttentionArguments& args, float (&scores)[Count],
    const float (&logarithms)[2]) {
#pragma unroll
    for (int i = 0; i < Count; i++) scores[i] = exp2_approximate(scores[i] * exponent_scale(args) - logarithms[i % 4 / 2]);
}

template <int Steps, int Count> __device__ __forceinline__ void differentiate_by_queries(const AttentionArguments& args, float (&slopes)[Count],
    const unsigned (&probabilities)[Steps][4], const float (&logarithms)[2], const float (&deltas)[2]) {
    static_assert(Count == 8 * Steps, "16 columns a step");
#pragma unroll
    for (int i = 0; i < Count; i++) {
        const int half = i % 4 / 2;
        const unsigned word = probabilities[i / 8][i % 8 / 4 * 2 + half];
        const float probability = i % 2 ? second_of(word) : first_of(word);
        slopes[i] = probability * (slopes[i] - deltas[half]);
        if constexpr (Capped) slopes[i] *= slope_of_cap(args, probability, logarithms[half]);
    }
}
