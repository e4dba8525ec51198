// The softmax of a tile of scores in the registers of a warp, with which both forward kernels of attention compute. A warp has the scores of 16
// queries with the keys of a tile: scores[4 n + 2 half + e] belongs to query lane / 4 + 8 half and to key 8 n + 2 (lane % 4) + e.
#pragma once
#include "attention.cuh"

// Capped scores are exponents already.
template <int Count> __device__ __forceinline__ void cap_scores(const AttentionArguments& args, float (&scores)[Count]) {
    if constexpr (Capped)
#pragma unroll
        for (int i = 0; i < Count; i++) scores[i] = args.capLog2 * tanh_approximate(scores[i] * args.cap);
}

__device__ __forceinline__ float exponent_scale(const AttentionArguments& args) { return Capped ? 1.f : args.scaleLog2; }

// Minus infinity for keys of a tile from firstKey on that a query does not see. All queries of the warp see the keys from inner to innerEnd. `bounds`
// are those of the first query of the lane, as `write_bounds` writes them for `Queries` queries.
template <int Queries, int Count> __device__ __forceinline__ void hide_keys(float (&scores)[Count], const int* bounds, int inner, int innerEnd,
    int firstKey) {
    constexpr int Keys = 2 * Count;
    const bool early = firstKey < inner, late = firstKey + Keys > innerEnd;
    if (!early && !late) return;
    const int laneKey = firstKey + 2 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (early) {
            const int low = bounds[16 * half] - laneKey;
            int sinkLow = 0, sinkEnd = 0;
            if constexpr (Sinks) { sinkLow = bounds[2 * Queries + 16 * half] - laneKey; sinkEnd = bounds[2 * Queries + 16 * half + 1] - laneKey; }
#pragma unroll
            for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int key = 8 * n + e;
                    if (key < low && !(Sinks && key >= sinkLow && key < sinkEnd)) scores[4 * n + 2 * half + e] = minus_infinity();
                }
        }
        if (late) {
            const int end = bounds[16 * half + 1] - laneKey;
#pragma unroll
            for (int n = 0; n < Keys / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (8 * n + e >= end) scores[4 * n + 2 * half + e] = minus_infinity();
        }
    }
}

// Converts scores to exponentials relative to the new maximum of the rows. `factors` receives the multipliers of earlier sums.
template <int Count> __device__ __forceinline__ void exponentiate(const AttentionArguments& args, float (&scores)[Count], float (&maximum)[2],
    float (&sum)[2], float (&factors)[2]) {
    const float scale = exponent_scale(args);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float most = maximum[half];
#pragma unroll
        for (int n = 0; n < Count / 4; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) most = greater_of(most, scores[4 * n + 2 * half + e]);
        most = greater_of(most, from_lane_xor(most, 1));
        most = greater_of(most, from_lane_xor(most, 2));
        const float scaled = most == minus_infinity() ? 0.f : most * scale;
        factors[half] = exp2_approximate(maximum[half] * scale - scaled);
        maximum[half] = most;
        float laneSum = 0;
#pragma unroll
        for (int n = 0; n < Count / 4; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float& score = scores[4 * n + 2 * half + e];
                score = exp2_approximate(score * scale - scaled);
                laneSum += score;
            }
        sum[half] = sum[half] * factors[half] + laneSum;
    }
}

// The factor of the weighted sums of a query, and the logarithm of its sum of exponentials; both are 0 for a query that sees nothing.
struct RowEnd { float factor, logarithm; };

__device__ __forceinline__ RowEnd end_of_row(const AttentionArguments& args, int head, float maximum, float laneSum) {
    float total = lane_sum(laneSum, 4), scaled = maximum * exponent_scale(args), before = 1;
    if (args.sinkLogits) {
        const float logit = args.sinkLogits[head] * log2_e, higher = greater_of(scaled, logit);
        before = exp2_approximate(scaled - higher);
        total = total * before + exp2_approximate(logit - higher);
        scaled = higher;
    }
    const bool any = total > 0;
    return {any ? before / total : 0.f, any ? scaled + log2_approximate(total) : 0.f};
}
