// RMS normalisation over equal parts of a row, plain, with a SiLU gate before or after it, or of a sum x + residual that is written too; and its gradients.
//
// A team (a warp for narrow parts, else a block of 256 threads) takes a part of a row. Forward: the part is read once into registers as far as Kept vectors
// a thread hold it, its squares are summed over the team, and it is written. Backward: two sums of products the same way; a team keeps to its columns over many
// rows, so the weight's gradient gathers in registers and is written once per team, to be added up over teams in a fixed order.
// Bytes a row of width w: forward 2 w elements (gate or residual +1, sum +1), backward 3 w (gate +2) + 4 w / rows of a team. About 5 and 12 operations an element.
// Limits on one H200 at 65536 rows of 2048 bfloat16: 0.125 ms forward (reached: 0.137), 0.187 ms backward (0.216).
#include "common.cuh"

#ifndef NORM_KEPT                                    // vectors that a lane of a warp holds
#define NORM_KEPT 8
#endif
#ifndef NORM_BACKWARD_KEPT
#define NORM_BACKWARD_KEPT 8
#endif
#ifndef NORM_BLOCKS                                  // that a multiprocessor is to hold
#define NORM_BLOCKS 4
#endif
#ifndef NORM_BACKWARD_BLOCKS
#define NORM_BACKWARD_BLOCKS 2
#endif
#ifndef NORM_ROW_BLOCKS
#define NORM_ROW_BLOCKS 3
#endif
#ifndef NORM_AHEAD                                   // whether a warp loads the next row while it works on one, backward
#define NORM_AHEAD true
#endif

struct NormArguments {
    const void *x, *gate, *residual;
    void *sum, *output;
    const float* weight;
    float* inverse;                                  // (rows, groups)
    i64 rows, groups, part, xStride, gateStride, residualStride;
    float epsilon;
    int normFirst;
};

// `scratch` has 8 floats; the sum after next may use them again
template <int Team> __device__ __forceinline__ float team_sum(float value, float* scratch) {
    value = lane_sum(value, 32);
    if (Team == 32) return value;
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < 8; warp++) total += scratch[warp];
    return total;
}

// what is normed: x, x + residual rounded as it is written, or x silu(gate)
template <class T, int V> __device__ __forceinline__ void complete(const NormArguments& a, i64 row, i64 column, float (&value)[V]) {
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

template <class T, int V> __device__ __forceinline__ void normed_input(const NormArguments& a, i64 row, i64 column, float (&value)[V]) {
    load<T, V>(a.x, row * a.xStride + column, value);
    complete<T, V>(a, row, column, value);
}

// V weights; in pieces of 16 bytes where the columns are taken so
template <int V> __device__ __forceinline__ void load_weights(const float* weight, i64 column, float (&values)[V]) {
    if constexpr (V % 4 == 0)
#pragma unroll
        for (int i = 0; i < V; i += 4) {
            const Raw<float, 4> four = load_raw<float, 4>(weight, column + i);
#pragma unroll
            for (int j = 0; j < 4; j++) values[i + j] = four[j];
        }
    else
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = weight ? weight[column + i] : 1;
}

template <class T, int V, bool Plain> __device__ __forceinline__ void write_normed(const NormArguments& a, i64 row, i64 column, i64 width, float inverse, float (&value)[V]) {
    if (!Plain && a.sum) store<T, V>(a.sum, row * width + column, value);
#pragma unroll
    for (int i = 0; i < V; i++) value[i] *= inverse;
    if (a.weight) {
        float weights[V];
        load_weights<V>(a.weight, column, weights);
#pragma unroll
        for (int i = 0; i < V; i++) value[i] *= weights[i];
    }
    if (!Plain && a.gate && a.normFirst) {
        float gate[V];
        load<T, V>(a.gate, row * a.gateStride + column, gate);
#pragma unroll
        for (int i = 0; i < V; i++) value[i] *= gate[i] * sigmoid(gate[i]);
    }
    store<T, V>(a.output, row * width + column, value);
}

// Kept of a thread's vectors of a part are held in registers, what is wider is read twice

template <class T, int V, int Team, int Kept, bool Plain, int Threads> __device__ __forceinline__ void norm_forward(const NormArguments& a) {
    DYNAMIC_SHARED(float, scratch);
    const i64 team = (static_cast<i64>(blockIdx.x) * Threads + threadIdx.x) / Team, width = a.groups * a.part;
    if (team >= a.rows * a.groups) return;           // a whole team at once
    const i64 row = a.groups == 1 ? team : team / a.groups, first = (team - row * a.groups) * a.part;
    const int lane = threadIdx.x % Team;
    float kept[Kept][V], squares = 0;
    Raw<T, V> raw[Kept];                             // all loads before the first use
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        const i64 at = (static_cast<i64>(k) * Team + lane) * V;
        if (at < a.part) raw[k] = load_raw<T, V>(a.x, row * a.xStride + first + at);
    }
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        const i64 at = (static_cast<i64>(k) * Team + lane) * V;
        if (at < a.part) {
            unpack<T, V>(raw[k], kept[k]);
            if (!Plain) complete<T, V>(a, row, first + at, kept[k]);
#pragma unroll
            for (int i = 0; i < V; i++) squares += kept[k][i] * kept[k][i];
        }
    }
    for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V) {
        float value[V];
        normed_input<T, V>(a, row, first + at, value);
#pragma unroll
        for (int i = 0; i < V; i++) squares += value[i] * value[i];
    }
    const float inverse = reciprocal_root(team_sum<Team>(squares, scratch) / static_cast<float>(a.part) + a.epsilon);
    if (lane == 0) a.inverse[team] = inverse;
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        const i64 at = (static_cast<i64>(k) * Team + lane) * V;
        if (at < a.part) write_normed<T, V, Plain>(a, row, first + at, width, inverse, kept[k]);
    }
    for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V) {
        float value[V];
        normed_input<T, V>(a, row, first + at, value);
        write_normed<T, V, Plain>(a, row, first + at, width, inverse, value);
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

// n = (gated) x / rms, and what flows into n w from outside: dy, or dy silu(gate) where the gate comes after
template <class T, int V, bool Plain> __device__ __forceinline__ void norm_terms(const NormGradientArguments& a, i64 row, i64 column, float inverse, const Raw<T, V>& x, const Raw<T, V>& gradient,
    float (&n)[V], float (&through)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) { n[i] = x[i] * inverse; through[i] = gradient[i]; }
    if (!Plain && a.gate) {
        float gate[V];
        load<T, V>(a.gate, row * a.gateStride + column, gate);
#pragma unroll
        for (int i = 0; i < V; i++) {
            float open = gate[i] * sigmoid(gate[i]);
            if (a.normFirst) through[i] *= open; else n[i] *= open;
        }
    }
}

// the sum of dn n over V elements, dn being what flows into n; and the weight's gradient
template <class T, int V, bool Plain> __device__ __forceinline__ float norm_products(const NormGradientArguments& a, i64 row, i64 column, float inverse, const Raw<T, V>& x, const Raw<T, V>& gradient,
    float (&dWeight)[V]) {
    float n[V], through[V], weights[V], sum = 0;
    norm_terms<T, V, Plain>(a, row, column, inverse, x, gradient, n, through);
    if (a.weight) load_weights<V>(a.weight, column, weights);
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float product = through[i] * n[i];
        dWeight[i] += product;
        sum += a.weight ? product * weights[i] : product;
    }
    return sum;
}

template <class T, int V, bool Plain> __device__ __forceinline__ void norm_result(const NormGradientArguments& a, i64 row, i64 column, i64 width, float inverse, float mean, const Raw<T, V>& x,
    const Raw<T, V>& gradient) {
    float n[V], through[V], weights[V], dx[V];
    norm_terms<T, V, Plain>(a, row, column, inverse, x, gradient, n, through);
    if (a.weight) load_weights<V>(a.weight, column, weights);
#pragma unroll
    for (int i = 0; i < V; i++) dx[i] = ((a.weight ? through[i] * weights[i] : through[i]) - n[i] * mean) * inverse;
    if (!Plain && a.gate) {
        float gate[V], dGate[V];
        load<T, V>(a.gate, row * a.gateStride + column, gate);
#pragma unroll
        for (int i = 0; i < V; i++) {
            float s = sigmoid(gate[i]), slope = silu_slope(gate[i], s);
            if (a.normFirst) dGate[i] = gradient[i] * n[i] * (a.weight ? weights[i] : 1) * slope;
            else { dGate[i] = dx[i] * x[i] * slope; dx[i] *= gate[i] * s; }
        }
        store<T, V>(a.dGate, row * width + column, dGate);
    }
    if (!Plain && a.sumGradient) {
        float other[V];
        load<T, V>(a.sumGradient, row * width + column, other);
#pragma unroll
        for (int i = 0; i < V; i++) dx[i] += other[i];
    }
    store<T, V>(a.dX, row * width + column, dx);
}

template <class T, int V, int Team, int Kept, bool Plain, bool Ahead, int Threads> __device__ __forceinline__ void norm_backward(const NormGradientArguments& a) {
    DYNAMIC_SHARED(float, scratch);
    const i64 team = (static_cast<i64>(blockIdx.x) * Threads + threadIdx.x) / Team, width = a.groups * a.part;
    if (team >= a.slices * a.groups) return;         // a whole team at once
    const i64 slice = a.groups == 1 ? team : team / a.groups, group = team - slice * a.groups, first = group * a.part;
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

    Raw<T, V> x[Kept], gradient[Kept], nextX[Kept], nextGradient[Kept];          // the next row is under way while this one is summed over the team
    const auto fetch = [&](i64 row, Raw<T, V> (&xs)[Kept], Raw<T, V> (&gradients)[Kept]) {
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const i64 at = (static_cast<i64>(k) * Team + lane) * V;
            if (row < a.rows && at < a.part) {
                xs[k] = load_raw<T, V>(a.x, row * a.xStride + first + at);
                gradients[k] = load_raw<T, V>(a.gradient, row * a.gradientStride + first + at);
            }
        }
    };
    fetch(slice, x, gradient);
    float* place = scratch;
    for (i64 row = slice; row < a.rows; row += a.slices) {
        const float inverse = a.inverse[row * a.groups + group];
        if (Ahead) fetch(row + a.slices, nextX, nextGradient);
        float products = 0;
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const i64 at = (static_cast<i64>(k) * Team + lane) * V;
            if (at < a.part) products += norm_products<T, V, Plain>(a, row, first + at, inverse, x[k], gradient[k], dWeight[k]);
        }
        for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V) {
            float more[V];
#pragma unroll
            for (int i = 0; i < V; i++) more[i] = 0;
            products += norm_products<T, V, Plain>(a, row, first + at, inverse, load_raw<T, V>(a.x, row * a.xStride + first + at),
                load_raw<T, V>(a.gradient, row * a.gradientStride + first + at), more);
            if (a.dWeight)
#pragma unroll
                for (int i = 0; i < V; i++) a.dWeight[slice * width + first + at + i] += more[i];
        }
        const float mean = team_sum<Team>(products, place) / static_cast<float>(a.part);
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const i64 at = (static_cast<i64>(k) * Team + lane) * V;
            if (at < a.part) norm_result<T, V, Plain>(a, row, first + at, width, inverse, mean, x[k], gradient[k]);
        }
        for (i64 at = (static_cast<i64>(Kept) * Team + lane) * V; at < a.part; at += Team * V)
            norm_result<T, V, Plain>(a, row, first + at, width, inverse, mean, load_raw<T, V>(a.x, row * a.xStride + first + at),
                load_raw<T, V>(a.gradient, row * a.gradientStride + first + at));
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (Ahead) { x[k] = nextX[k]; gradient[k] = nextGradient[k]; }
        if (!Ahead) fetch(row + a.slices, x, gradient);
        place = scratch + (place == scratch ? 8 : 0);
    }
    if (a.dWeight)
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const i64 at = (static_cast<i64>(k) * Team + lane) * V;
            if (at < a.part)
#pragma unroll
                for (int i = 0; i < V; i++) a.dWeight[slice * width + first + at + i] = dWeight[k][i];
        }
}

// By the width of a part: a warp, a block with one vector a thread, a block with four; `plain`: without gate, residual and a second gradient.
#define NORM_KIND(kind, type, T, V, size, Plain) \
    KERNEL_OF(norm_forward_warp##kind##type##_##size, 128, NORM_BLOCKS, NormArguments, norm_forward<T, V, 32, NORM_KEPT, Plain, 128>) \
    KERNEL(norm_forward_row##kind##type##_##size, 256, NormArguments, norm_forward<T, V, 256, 1, Plain, 256>) \
    KERNEL(norm_forward_block##kind##type##_##size, 256, NormArguments, norm_forward<T, V, 256, 4, Plain, 256>) \
    KERNEL_OF(norm_backward_warp##kind##type##_##size, 128, NORM_BACKWARD_BLOCKS, NormGradientArguments, norm_backward<T, V, 32, NORM_BACKWARD_KEPT, Plain, NORM_AHEAD, 128>) \
    KERNEL_OF(norm_backward_row##kind##type##_##size, 256, NORM_ROW_BLOCKS, NormGradientArguments, norm_backward<T, V, 256, 1, Plain, true, 256>) \
    KERNEL(norm_backward_block##kind##type##_##size, 256, NormGradientArguments, norm_backward<T, V, 256, 4, Plain, false, 256>)

NORM_KIND(_, float32, float, 4, vector, false)
NORM_KIND(_plain_, float32, float, 4, vector, true)
NORM_KIND(_, float32, float, 1, single, false)
NORM_KIND(_, bfloat16, bfloat16, 8, vector, false)
NORM_KIND(_plain_, bfloat16, bfloat16, 8, vector, true)
NORM_KIND(_, bfloat16, bfloat16, 1, single, false)
