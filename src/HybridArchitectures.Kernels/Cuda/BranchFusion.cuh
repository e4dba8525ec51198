// What the kernels of the fusion of two branches share: their arguments, the factors of channels, and the sums for weights and gate.
#pragma once
#include "common.cuh"

enum Kind { Added, Differing, Mixed };

struct FusionArguments {
    const void *values[2];
    const float *weights[2], *gate;                  // (width of the branch) each, or null; gate (width)
    float* inverse[2];  // (rows, groups) of 1 / rms; null for a branch without a norm
    void* output;  // contiguous rows: written forward; backward, the gradient with respect to it, read
    void* dValues[2];  // contiguous rows
    float *dWeights[2], *dGate;                      // (slices, width), or null
    i64 rows, slices, widths[2], groups[2], strides[2], outputStride;
    i64 parts[2];                                    // channels of a part
    int shifts[2];  // a part within a warp has 1 << shift vectors
    float epsilon;
    int kind;
};

// Returns the factors of the normalized channels of a branch in the output, in addition to their weights.
template <int V> __device__ __forceinline__ void shares_of(const FusionArguments& args, int branch, i64 at, float (&shares)[V]) {
    const bool mixed = args.kind == Mixed;
    channels_of<V>(mixed ? args.gate : nullptr, at, 0, shares);
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float share = mixed ? sigmoid(shares[i]) : 1;
        shares[i] = !branch ? share : mixed ? 1 - share : args.kind == Differing ? -1 : 1;
    }
}

template <int V, bool Plain> __device__ __forceinline__ void factors_of(const FusionArguments& args, int branch, i64 at, float (&factors)[V]) {
    if (Plain) {
#pragma unroll
        for (int i = 0; i < V; i++) factors[i] = branch && args.kind == Differing ? -1 : 1;
        return;
    }
    float weights[V];
    shares_of<V>(args, branch, at, factors);
    channels_of<V>(args.weights[branch], at, 1, weights);
#pragma unroll
    for (int i = 0; i < V; i++) factors[i] *= weights[i];
}

// Writes the gradients of weights and gate for V channels, from the sums over rows of dy n of both branches.
template <int V> __device__ __forceinline__ void write_sums(
    const FusionArguments& args, i64 slice, i64 at, const float (&first)[V], const float (&second)[V]) {
    float shares[V], weights[2][V];
#pragma unroll
    for (int branch = 0; branch < 2; branch++) {
        if (at >= args.widths[branch] || !args.dWeights[branch]) continue;
        shares_of<V>(args, branch, at, shares);
#pragma unroll
        for (int i = 0; i < V; i++) args.dWeights[branch][slice * args.widths[branch] + at + i] = (branch ? second : first)[i] * shares[i];
    }
    if (at >= args.widths[0] || !args.dGate) return;
    shares_of<V>(args, 0, at, shares);
#pragma unroll
    for (int branch = 0; branch < 2; branch++) channels_of<V>(args.weights[branch], at, 1, weights[branch]);
#pragma unroll
    for (int i = 0; i < V; i++)
        args.dGate[slice * args.widths[0] + at + i] = (first[i] * weights[0][i] - second[i] * weights[1][i]) * shares[i] * (1 - shares[i]);
}
