// RMS normalisation over equal parts of a row, plain, with a SiLU gate before or after it, or of a sum x + residual that is written too; and its gradients.
//
// A team (a warp for narrow parts, else a block of 256 threads) takes a part of a row. Forward: the part is read once into registers as far as Kept vectors
// a thread hold it, its squares are summed over the team, and it is written. Backward: two sums of products the same way; a team keeps to its columns over many
// rows, so the weight's gradient gathers in registers and is written once per team, to be added up over teams in a fixed order.
// Bytes a row of width w: forward 2 w elements (gate or residual +1, sum +1), backward 3 w (gate +2) + 4 w / rows of a team. About 5 and 12 operations an element.
#include "common.cuh"

struct NormArguments {
    const void *x, *gate, *residual;
    void *sum, *output;
    const float* weight;
    float* inverse;                                  // (rows, groups)
    i64 rows, groups, part, xStride, gateStride, residualStride;
    float epsilon;
    int normFirst;
};

template <int Team> __device__ __forceinline__ float team_sum(float value, float* scratch) {
    return Team == 32 ? lane_sum(value, 32) : block_sum(value, scratch);
}

// what is normed: x, x + residual rounded as it is written, or x silu(gate)
template <class T, int V> __device__ __forceinline__ void normed_input(const NormArguments& a, i64 row, i64 column, i64 width, float (&value)[V]) {
    load<T, V>(a.x, row * a.xStride + column, value);
    if (a.residual) {
        float other[V];
        load<T, V>(a.residual, row * a.residualStride + column, other);
#pragma unroll
        for (int i = 0; i < V; i++) value[i] = to_float(from_float<T>(value[i] + other[i]));
    }
    if (a.gate && !a.normFirst) {
        float gate[V];
        load<T, V>(a.gate, row * a.gateStride + column, gate);
#pragma unroll
        for (int i = 0; i < V; i++) value[i] *= gate[i] * sigmoid(gate[i]);
    }
}

template <class T, int V> __device__ __forceinline__ void write_normed(const NormArguments& a, i64 row, i64 column, i64 width, float inverse, float (&value)[V]) {
    if (a.sum) store<T, V>(a.sum, row * width + column, value);
#pragma unroll
    for (int i = 0; i < V; i++) value[i] *= inverse;
    if (a.weight) {
#pragma unroll
        for (int i = 0; i < V; i++) value[i] *= a.weight[column + i];
    }
    if (a.gate && a.normFirst) {
        float gate[V];
        load<T, V>(a.gate, row * a.gateStride + column, gate);
#pragma unroll
        for (int i = 0; i < V; i++) value[i] *= gate[i] * sigmoid(gate[i]);
    }
    store<T, V>(a.output, row * width + column, value);
}

template <class T, int V, int Team> __device__ __forceinline__ void norm_forward(const NormArguments& a) {
    constexpr int Kept = 4;
    DYNAMIC_SHARED(float, scratch);
    const i64 team = (static_cast<i64>(blockIdx.x) * 256 + threadIdx.x) / Team, width = a.groups * a.part;
    if (team >= a.rows * a.groups) return;           // a whole team at once
    const i64 row = team / a.groups, first = team % a.groups * a.part;
    const int lane = threadIdx.x % Team;
    float kept[Kept][V], squares = 0;
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        i64 at = (static_cast<i64>(k) * Team + lane) * V;
        if (at < a.part) {
            normed_input<T, V>(a, row, first + at, width, kept[k]);
#pragma unroll
            for (int i = 0; i < V; i++) squares += kept[k][i] * kept[k][i];
        }
    }
    for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V) {
        float value[V];
        normed_input<T, V>(a, row, first + at, width, value);
#pragma unroll
        for (int i = 0; i < V; i++) squares += value[i] * value[i];
    }
    const float inverse = reciprocal_root(team_sum<Team>(squares, scratch) / static_cast<float>(a.part) + a.epsilon);
    if (lane == 0) a.inverse[team] = inverse;
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        i64 at = (static_cast<i64>(k) * Team + lane) * V;
        if (at < a.part) write_normed<T, V>(a, row, first + at, width, inverse, kept[k]);
    }
    for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V) {
        float value[V];
        normed_input<T, V>(a, row, first + at, width, value);
        write_normed<T, V>(a, row, first + at, width, inverse, value);
    }
}

struct NormGradientArguments {
    const void *gradient, *sumGradient, *x, *gate;   // sumGradient: what else flows into x, or null; rows as wide as x, without gaps
    const float *weight, *inverse;
    void *dX, *dGate;
    float* dWeight;                                  // (slices, width), or null
    i64 rows, groups, part, slices, gradientStride, xStride, gateStride;
    int normFirst;
};

// n = (gated) x / rms, dn = dy w (gated): what both passes need
template <class T, int V> __device__ __forceinline__ void norm_terms(const NormGradientArguments& a, i64 row, i64 column, float inverse, float (&n)[V], float (&through)[V]) {
    load<T, V>(a.x, row * a.xStride + column, n);
    load<T, V>(a.gradient, row * a.gradientStride + column, through);
#pragma unroll
    for (int i = 0; i < V; i++) n[i] *= inverse;
    if (a.gate) {
        float gate[V];
        load<T, V>(a.gate, row * a.gateStride + column, gate);
#pragma unroll
        for (int i = 0; i < V; i++) {
            float open = gate[i] * sigmoid(gate[i]);
            if (a.normFirst) through[i] *= open; else n[i] *= open;
        }
    }
}

template <class T, int V, int Team> __device__ __forceinline__ void norm_backward(const NormGradientArguments& a) {
    constexpr int Kept = 2;
    DYNAMIC_SHARED(float, scratch);
    const i64 team = (static_cast<i64>(blockIdx.x) * 256 + threadIdx.x) / Team, width = a.groups * a.part;
    if (team >= a.slices * a.groups) return;         // a whole team at once
    const i64 slice = team / a.groups, group = team % a.groups, first = group * a.part;
    const int lane = threadIdx.x % Team;
    float dWeight[Kept][V];
#pragma unroll
    for (int k = 0; k < Kept; k++)
#pragma unroll
        for (int i = 0; i < V; i++) dWeight[k][i] = 0;
    if (a.dWeight)
        for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V)
#pragma unroll
            for (int i = 0; i < V; i++) a.dWeight[slice * width + first + at + i] = 0;

    for (i64 row = slice; row < a.rows; row += a.slices) {
        const float inverse = a.inverse[row * a.groups + group];
        float products = 0;
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            i64 at = (static_cast<i64>(k) * Team + lane) * V;
            if (at < a.part) {
                float n[V], dn[V];
                norm_terms<T, V>(a, row, first + at, inverse, n, dn);
#pragma unroll
                for (int i = 0; i < V; i++) {
                    float product = dn[i] * n[i];
                    dWeight[k][i] += product;
                    products += a.weight ? product * a.weight[first + at + i] : product;
                }
            }
        }
        for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V) {
            float n[V], dn[V];
            norm_terms<T, V>(a, row, first + at, inverse, n, dn);
#pragma unroll
            for (int i = 0; i < V; i++) {
                float product = dn[i] * n[i];
                if (a.dWeight) a.dWeight[slice * width + first + at + i] += product;
                products += a.weight ? product * a.weight[first + at + i] : product;
            }
        }
        const float mean = team_sum<Team>(products, scratch) / static_cast<float>(a.part);
        // the row is read again, from the first-level cache
        for (i64 at = static_cast<i64>(lane) * V; at < a.part; at += Team * V) {
            float n[V], dn[V], dx[V];
            norm_terms<T, V>(a, row, first + at, inverse, n, dn);
#pragma unroll
            for (int i = 0; i < V; i++) dx[i] = ((a.weight ? dn[i] * a.weight[first + at + i] : dn[i]) - n[i] * mean) * inverse;
            if (a.gate) {
                float gate[V], other[V], dGate[V];
                load<T, V>(a.gate, row * a.gateStride + first + at, gate);
                if (a.normFirst) load<T, V>(a.gradient, row * a.gradientStride + first + at, other);
                else load<T, V>(a.x, row * a.xStride + first + at, other);
#pragma unroll
                for (int i = 0; i < V; i++) {
                    float s = sigmoid(gate[i]), slope = silu_slope(gate[i], s);
                    if (a.normFirst) dGate[i] = other[i] * n[i] * (a.weight ? a.weight[first + at + i] : 1) * slope;
                    else { dGate[i] = dx[i] * other[i] * slope; dx[i] *= gate[i] * s; }
                }
                store<T, V>(a.dGate, row * width + first + at, dGate);
            }
            if (a.sumGradient) {
                float other[V];
                load<T, V>(a.sumGradient, row * width + first + at, other);
#pragma unroll
                for (int i = 0; i < V; i++) dx[i] += other[i];
            }
            store<T, V>(a.dX, row * width + first + at, dx);
        }
    }
    if (a.dWeight)
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            i64 at = (static_cast<i64>(k) * Team + lane) * V;
            if (at < a.part)
#pragma unroll
                for (int i = 0; i < V; i++) a.dWeight[slice * width + first + at + i] = dWeight[k][i];
        }
}

#define NORM(type, T, V, size) \
    KERNEL(norm_forward_warp_##type##_##size, 256, NormArguments, norm_forward<T, V, 32>) \
    KERNEL(norm_forward_block_##type##_##size, 256, NormArguments, norm_forward<T, V, 256>) \
    KERNEL(norm_backward_warp_##type##_##size, 256, NormGradientArguments, norm_backward<T, V, 32>) \
    KERNEL(norm_backward_block_##type##_##size, 256, NormGradientArguments, norm_backward<T, V, 256>)

NORM(float32, float, 4, vector)
NORM(float32, float, 1, single)
NORM(bfloat16, bfloat16, 8, vector)
NORM(bfloat16, bfloat16, 1, single)
