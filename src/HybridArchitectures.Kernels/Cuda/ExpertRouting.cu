// The router of a mixture of experts in a decoding step, and the sum over the experts of a token.
//
// `route_experts` has a block of eight warps for each token: a warp computes the float32 scores of experts, the first warp selects the best. It reads
// the weights once for each token, 4 bytes per expert and input. `mix_experts` adds the outputs of the experts of a token, each times its weight and
// rounded, rounds the sum, and adds what all tokens share.
#include "candidates.cuh"

struct RouteArguments {
    const bfloat16* x;                               // (tokens, inputs)
    const float *weight, *bias;                      // (experts, inputs); (experts), added to scores for the selection alone, or null
    i64* chosen;                                     // (tokens, choices)
    bfloat16* weights;                               // (tokens, choices)
    i64 experts, inputs, xRow, choices, sigmoid, renormalize;
    float scale;
};

__device__ __forceinline__ void score_experts(const RouteArguments& a, float* scores) {
    const bfloat16* x = a.x + blockIdx.x * a.xRow;
    const int lane = threadIdx.x % 32, inputs = static_cast<int>(a.inputs);
    for (int expert = threadIdx.x / 32; expert < a.experts; expert += 8) {
        const float* weight = a.weight + expert * a.inputs;
        float sum = 0;
#pragma unroll 4
        for (int at = 8 * lane; at < inputs; at += 256) {
            float own[8], factor[8];
            load<bfloat16, 8>(x, at, own);
            channels_of<8>(weight, at, 0, factor);
#pragma unroll
            for (int i = 0; i < 8; i++) sum += own[i] * factor[i];
        }
        sum = lane_sum(sum, 32);
        if (lane == 0) scores[expert] = a.sigmoid ? sigmoid<float>(sum) : sum;
    }
}

// by one warp
__device__ __forceinline__ void normalize_scores(const RouteArguments& a, float* scores) {
    const int lane = threadIdx.x, experts = static_cast<int>(a.experts);
    Candidate most = {as_float(0xff800000u), experts};
    for (int expert = lane; expert < experts; expert += 32) most.take({scores[expert], expert});
    most.take_lanes();
    float total = 0;
    for (int expert = lane; expert < experts; expert += 32) {
        scores[expert] = exponential<float>(scores[expert] - most.score);
        total += scores[expert];
    }
    total = lane_sum(total, 32);
    for (int expert = lane; expert < experts; expert += 32) scores[expert] /= total;
    sync_warp();
}

__device__ __forceinline__ void route_experts_(const RouteArguments& a) {
    DYNAMIC_SHARED(float, scores);
    float *ranks = scores + a.experts, *selected = ranks + a.experts;
    score_experts(a, scores);
    __syncthreads();
    if (threadIdx.x >= 32) return;
    const int lane = threadIdx.x, experts = static_cast<int>(a.experts), choices = static_cast<int>(a.choices);
    if (!a.sigmoid) normalize_scores(a, scores);
    for (int expert = lane; expert < experts; expert += 32) ranks[expert] = scores[expert] + (a.bias ? a.bias[expert] : 0);
    sync_warp();
    float total = 0;
    for (int choice = 0; choice < choices; choice++) {
        Candidate best = {as_float(0xff800000u), experts};
        for (int expert = lane; expert < experts; expert += 32)
            if (ranks[expert] != as_float(0xff800000u)) best.take({ranks[expert], expert});
        best.take_lanes();
        const int at = best.at < experts ? best.at : 0;
        total += scores[at];
        sync_warp();
        if (lane == 0) {
            a.chosen[blockIdx.x * a.choices + choice] = at;
            selected[choice] = scores[at];
            ranks[at] = as_float(0xff800000u);
        }
        sync_warp();
    }
    const float factor = a.renormalize ? a.scale / (total + 1e-20f) : a.scale;
    for (int choice = lane; choice < choices; choice += 32)
        a.weights[blockIdx.x * a.choices + choice] = from_float<bfloat16>(selected[choice] * factor);
}

struct MixArguments {
    const bfloat16 *outputs, *weights, *common;      // (tokens, choices, width); (tokens, choices) or null; (tokens, width) or null
    bfloat16* result;                                // (tokens, width)
    i64 tokens, choices, width;
};

__device__ __forceinline__ void mix_experts_(const MixArguments& a) {
    const i64 item = (static_cast<i64>(blockIdx.x) * 128 + threadIdx.x) * 8;
    if (item >= a.tokens * a.width) return;
    const i64 token = item / a.width, column = item % a.width;
    float sum[8] = {};
    for (int choice = 0; choice < a.choices; choice++) {
        float own[8];
        load<bfloat16, 8>(a.outputs, (token * a.choices + choice) * a.width + column, own);
        const float weight = a.weights ? to_float(a.weights[token * a.choices + choice]) : 1.f;
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] += to_float(from_float<bfloat16>(own[i] * weight));
    }
    if (a.common) {
        float common[8];
        load<bfloat16, 8>(a.common, item, common);
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] = to_float(from_float<bfloat16>(sum[i])) + common[i];
    }
    store<bfloat16, 8>(a.result, item, sum);
}

KERNEL(route_experts, 256, RouteArguments, route_experts_)
KERNEL(mix_experts, 128, MixArguments, mix_experts_)
