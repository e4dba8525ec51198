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

__device__ __forceinline__ void score_experts(const RouteArguments& args, float* scores) {
    const bfloat16* x = args.x + blockIdx.x * args.xRow;
    const int lane = threadIdx.x % 32, inputs = static_cast<int>(args.inputs);
    for (int expert = threadIdx.x / 32; expert < args.experts; expert += 8) {
        const float* weight = args.weight + expert * args.inputs;
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
        if (lane == 0) scores[expert] = args.sigmoid ? sigmoid<float>(sum) : sum;
    }
}

// by one warp
__device__ __forceinline__ void normalize_scores(const RouteArguments& args, float* scores) {
    const int lane = threadIdx.x, experts = static_cast<int>(args.experts);
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

__device__ __forceinline__ void route_experts_(const RouteArguments& args) {
    DYNAMIC_SHARED(float, scores);
    float *ranks = scores + args.experts, *selected = ranks + args.experts;
    score_experts(args, scores);
    __syncthreads();
    if (threadIdx.x >= 32) return;
    const int lane = threadIdx.x, experts = static_cast<int>(args.experts), choices = static_cast<int>(args.choices);
    if (!args.sigmoid) normalize_scores(args, scores);
    for (int expert = lane; expert < experts; expert += 32) ranks[expert] = scores[expert] + (args.bias ? args.bias[expert] : 0);
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
            args.chosen[blockIdx.x * args.choices + choice] = at;
            selected[choice] = scores[at];
            ranks[at] = as_float(0xff800000u);
        }
        sync_warp();
    }
    const float factor = args.renormalize ? args.scale / (total + 1e-20f) : args.scale;
    for (int choice = lane; choice < choices; choice += 32)
        args.weights[blockIdx.x * args.choices + choice] = from_float<bfloat16>(selected[choice] * factor);
}

struct MixArguments {
    const bfloat16 *outputs, *weights, *common;      // (tokens, choices, width); (tokens, choices) or null; (tokens, width) or null
    bfloat16* result;                                // (tokens, width)
    i64 tokens, choices, width;
};

__device__ __forceinline__ void mix_experts_(const MixArguments& args) {
    const i64 item = (static_cast<i64>(blockIdx.x) * 128 + threadIdx.x) * 8;
    if (item >= args.tokens * args.width) return;
    const i64 token = item / args.width, column = item % args.width;
    float sum[8] = {};
    for (int choice = 0; choice < args.choices; choice++) {
        float own[8];
        load<bfloat16, 8>(args.outputs, (token * args.choices + choice) * args.width + column, own);
        const float weight = args.weights ? to_float(args.weights[token * args.choices + choice]) : 1.f;
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] += to_float(from_float<bfloat16>(own[i] * weight));
    }
    if (args.common) {
        float common[8];
        load<bfloat16, 8>(args.common, item, common);
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] = to_float(from_float<bfloat16>(sum[i])) + common[i];
    }
    store<bfloat16, 8>(args.result, item, sum);
}

KERNEL(route_experts, 256, RouteArguments, route_experts_)
KERNEL(mix_experts, 128, MixArguments, mix_experts_)
