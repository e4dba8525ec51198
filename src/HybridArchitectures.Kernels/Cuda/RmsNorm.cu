// RMS normalisation over equal parts of a row, plain, with a SiLU gate before or after it, or of a sum x + residual that is written too; and its
// gradients. One kernel, compiled for a type, a mode and a width of parts (NormCut has the cuts), so that nothing is decided for each element and
// registers hold what is used.
//
// A team of 8 to 512 threads takes a part of a row, a thread one vector of 16 bytes of it or two (more only past 1024 vectors), so that a
// multiprocessor holds 1024 threads forward, 512 backward. Forward: all loads of a part are under way before the first is used, the weights before
// the sum over the team, and what is normed stays in registers. Backward: a team keeps to its columns over many rows; the next row and its 1 / rms
// are loaded while this one is summed; weights and their gradient stay in registers, the gradient is written once per team, to be added up over teams
// in a fixed order; the gate's sigmoid is computed once. Bytes a row of width w: forward 2 w elements (gate or residual +1, sum +1), backward 3 w
// (gate or second gradient: 5, 4) + 4 w / rows of a team. About 5 to 12 operations an element forward, 10 to 20 backward, two of them special
// functions where there is a gate. On one H100 at 3.0 TB/s, 65536 rows, bfloat16, forward and backward with the sum over teams: 2048 plain 0.182 and
// 0.297 ms of 0.181 and 0.271, 4096 gated 0.526 and 0.929 of 0.542 and 0.904; parts of 64 to 512 the same within 4 %.
#include "common.cuh"

#ifndef NORM_TYPE                                    // some shape, where none is given
#define NORM_TYPE bfloat16
#define NORM_VECTOR 8
#define NORM_MODE Gated
#define NORM_TEAM 256
#define NORM_KEPT 2
#define NORM_REST true
#define NORM_THREADS 256
#define NORM_BLOCKS 2
#define NORM_BACKWARD 1
#endif

// What is normed: x; x silu(other); x, and the result times silu(other); x + other, which is written as well, and backward a second gradient flows
// into it.
enum Mode { Plain, Gated, Opened, Sum };

struct NormArguments {
    const void *x, *other;                           // other: the gate or the residual
    void *sum, *output;
    const float* weight;
    float* inverse;                                  // (rows, groups)
    i64 rows, groups, part, xStride, otherStride;
    float epsilon;
};

// `scratch` has a float a warp; the sum after next may use them again
template <int Team> __device__ __forceinline__ float team_sum(float value, float* scratch) {
    value = lane_sum(value, Team < 32 ? Team : 32);
    if constexpr (Team > 32) {
        if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
        __syncthreads();
        value = 0;
#pragma unroll
        for (int warp = 0; warp < Team / 32; warp++) value += scratch[warp];
    }
    return value;
}

// what is normed, and written where it is a sum
template <class T, int V, Mode M> __device__ __forceinline__ void normed_input(const Raw<T, V>& x, const Raw<T, V>& other, float (&value)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++)
        value[i] = M == Gated ? x[i] * (other[i] * sigmoid(other[i])) : M == Sum ? to_float(from_float<T>(x[i] + other[i])) : x[i];
}

template <class T, int V, Mode M> __device__ __forceinline__ void write_normed(
    void* output, i64 at, float inverse, const float (&weights)[V], const Raw<T, V>& other, float (&value)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) {
        value[i] *= inverse * weights[i];
        if (M == Opened) value[i] *= other[i] * sigmoid(other[i]);
    }
    store<T, V>(output, at, value);
}

// A team takes a part; Kept of a thread's vectors of it are held in registers, what is wider (Rest) is read twice.
template <class T, int V, int Team, int Kept, Mode M, bool Rest, int Threads> __device__ __forceinline__ void norm_forward(const NormArguments& a) {
    DYNAMIC_SHARED(float, scratch);
    constexpr bool Early = Kept <= 2;                // weights before the sum
    const i64 team = static_cast<i64>(blockIdx.x) * (Threads / Team) + threadIdx.x / Team, width = a.groups * a.part;
    const bool there = team < a.rows * a.groups;
    if (!there && Team >= 32) return;                // whole warps at once
    const i64 row = a.groups == 1 ? team : team / a.groups, first = (team - row * a.groups) * a.part;
    const int lane = threadIdx.x % Team, held = there ? static_cast<int>(a.part < Kept * Team * V ? a.part : Kept * Team * V) - lane * V : 0;
    const T *x = static_cast<const T*>(a.x) + row * a.xStride + first + lane * V,
        *other = static_cast<const T*>(a.other) + row * a.otherStride + first + lane * V;
    const i64 out = row * width + first + lane * V;
    const float* weight = a.weight ? a.weight + first + lane * V : nullptr;
    Raw<T, V> raw[Kept], others[Kept];               // all loads before the first use
#pragma unroll
    for (int k = 0; k < Kept; k++)
        if (k * Team * V < held) {
            raw[k] = load_raw<T, V>(x, k * Team * V);
            if (M != Plain) others[k] = load_raw<T, V>(other, k * Team * V);
        }
    float kept[Kept][V], weights[Kept][V], squares = 0;
    if (Early)
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * Team * V < held) channels_of<V>(weight, k * Team * V, 1, weights[k]);
#pragma unroll
    for (int k = 0; k < Kept; k++)
        if (k * Team * V < held) {
            normed_input<T, V, M>(raw[k], others[k], kept[k]);
            if (M == Sum) store<T, V>(a.sum, out + k * Team * V, kept[k]);
#pragma unroll
            for (int i = 0; i < V; i++) squares += kept[k][i] * kept[k][i];
        }
    const auto rest = [&](const auto& each) {        // of the vectors that are not held
        if (Rest)
            for (i64 at = static_cast<i64>(Kept) * Team * V; at + lane * V < a.part; at += Team * V) {
                Raw<T, V> more{};
                if (M != Plain) more = load_raw<T, V>(other, at);
                float value[V];
                normed_input<T, V, M>(load_raw<T, V>(x, at), more, value);
                each(at, more, value);
            }
    };
    rest([&](i64 at, const Raw<T, V>&, float (&value)[V]) {
        if (M == Sum) store<T, V>(a.sum, out + at, value);
#pragma unroll
        for (int i = 0; i < V; i++) squares += value[i] * value[i];
    });
    const float inverse = reciprocal_root(team_sum<Team>(squares, scratch) / static_cast<float>(a.part) + a.epsilon);
    if (there && lane == 0) a.inverse[team] = inverse;
#pragma unroll
    for (int k = 0; k < Kept; k++)
        if (k * Team * V < held) {
            if (!Early) channels_of<V>(weight, k * Team * V, 1, weights[k]);
            write_normed<T, V, M>(a.output, out + k * Team * V, inverse, weights[k], others[k], kept[k]);
        }
    rest([&](i64 at, const Raw<T, V>& more, float (&value)[V]) {
        float its[V];
        channels_of<V>(weight, at, 1, its);
        write_normed<T, V, M>(a.output, out + at, inverse, its, more, value);
    });
}

struct NormGradientArguments {
    const void *gradient, *x, *other;                // other: the gate, or what else flows into x
    const float *weight, *inverse;
    void *dX, *dGate;
    float* dWeight;                                  // (slices, width), or null
    i64 rows, groups, part, slices, gradientStride, xStride, otherStride;
};

// n = (gated) x / rms, what flows into n w from outside (dy, or dy silu(gate) where the gate comes after), and the gate's sigmoid: what sums are of.
template <class T, int V, Mode M> __device__ __forceinline__ float norm_products(
    float inverse, const Raw<T, V>& x, const Raw<T, V>& dy, const Raw<T, V>& other, const float (&weights)[V],
    float (&sigmoids)[V], float (&dWeight)[V]) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < V; i++) {
        float product = x[i] * dy[i];
        if (M == Gated || M == Opened) {
            sigmoids[i] = sigmoid(other[i]);
            product *= other[i] * sigmoids[i];
        }
        dWeight[i] += product * inverse;
        sum += product * weights[i];
    }
    return sum * inverse;
}

template <class T, int V, Mode M> __device__ __forceinline__ void norm_result(
    const NormGradientArguments& a, i64 at, float inverse, float mean, const Raw<T, V>& x, const Raw<T, V>& dy,
    const Raw<T, V>& other, const float (&weights)[V], const float (&sigmoids)[V]) {
    float dx[V], dGate[V];
    mean *= inverse;                                 // of dn n, times 1 / rms: what x is taken by
#pragma unroll
    for (int i = 0; i < V; i++) {
        if (M == Gated) {
            const float open = other[i] * sigmoids[i], d = (dy[i] * weights[i] - x[i] * open * mean) * inverse;
            dx[i] = d * open;
            dGate[i] = d * x[i] * (sigmoids[i] + open * (1 - sigmoids[i]));
        } else if (M == Opened) {
            const float open = other[i] * sigmoids[i], n = x[i] * inverse, through = dy[i] * weights[i];
            dx[i] = (through * open - x[i] * mean) * inverse;
            dGate[i] = through * n * (sigmoids[i] + open * (1 - sigmoids[i]));
        } else {
            dx[i] = (dy[i] * weights[i] - x[i] * mean) * inverse;
            if (M == Sum) dx[i] += other[i];
        }
    }
    store<T, V>(a.dX, at, dx);
    if (M == Gated || M == Opened) store<T, V>(a.dGate, at, dGate);
}

template <class T, int V, int Team, int Kept, Mode M, bool Rest,
    int Threads> __device__ __forceinline__ void norm_backward(const NormGradientArguments& a) {
    DYNAMIC_SHARED(float, scratch);
    const i64 team = static_cast<i64>(blockIdx.x) * (Threads / Team) + threadIdx.x / Team, width = a.groups * a.part;
    const bool there = team < a.slices * a.groups;
    if (!there && Team >= 32) return;                // whole warps at once
    const i64 slice = a.groups == 1 ? team : team / a.groups, group = team - slice * a.groups, first = group * a.part;
    const int lane = threadIdx.x % Team, whole = there ? static_cast<int>(a.part < Kept * Team * V ? a.part : Kept * Team * V) - lane * V : 0;
    const T *xs = static_cast<const T*>(a.x) + first + lane * V, *dys = static_cast<const T*>(a.gradient) + first + lane * V,
        *others = static_cast<const T*>(a.other) + first + lane * V;
    const float* weight = a.weight ? a.weight + first + lane * V : nullptr;
    float* sums = a.dWeight ? a.dWeight + slice * width + first + lane * V : nullptr;
    float dWeight[Kept][V], weights[Kept][V];
#pragma unroll
    for (int k = 0; k < Kept; k++) {
#pragma unroll
        for (int i = 0; i < V; i++) dWeight[k][i] = 0;
        if (k * Team * V < whole) channels_of<V>(weight, k * Team * V, 1, weights[k]);
    }
    const auto rest = [&](const auto& each) {        // columns that are not held
        if (Rest)
            for (i64 at = static_cast<i64>(Kept) * Team * V; at + lane * V < a.part; at += Team * V) each(at);
    };
    rest([&](i64 at) {
        if (sums)
#pragma unroll
            for (int i = 0; i < V; i++) sums[at + i] = 0;
    });
    struct Row { Raw<T, V> x[Kept], dy[Kept], other[Kept]; float inverse; };
    const auto fetch = [&](i64 row, Row& to) {
        if (!there || row >= a.rows) return;
        to.inverse = a.inverse[row * a.groups + group];
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * Team * V < whole) {
                to.x[k] = load_raw<T, V>(xs + row * a.xStride, k * Team * V);
                to.dy[k] = load_raw<T, V>(dys + row * a.gradientStride, k * Team * V);
                if (M != Plain) to.other[k] = load_raw<T, V>(others + row * a.otherStride, k * Team * V);
            }
    };
    Row now, next;                                   // the next row is under way while this one is summed over the team
    fetch(slice, now);
    float* place = scratch;
    for (i64 row = slice; row - slice < a.rows; row += a.slices) {     // teams of a warp turn equally often
        if (Team >= 32 && row >= a.rows) break;
        const int held = Team >= 32 || row < a.rows ? whole : 0;
        fetch(row + a.slices, next);
        float products = 0, sigmoids[Kept][V];
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * Team * V < held)
                products += norm_products<T, V, M>(now.inverse, now.x[k], now.dy[k], now.other[k], weights[k], sigmoids[k], dWeight[k]);
        const auto again = [&](i64 at, const auto& each) {
            Raw<T, V> more{};
            if (M != Plain) more = load_raw<T, V>(others + row * a.otherStride, at);
            float its[V], open[V], added[V];
            channels_of<V>(weight, at, 1, its);
#pragma unroll
            for (int i = 0; i < V; i++) added[i] = 0;
            const Raw<T, V> x = load_raw<T, V>(xs + row * a.xStride, at), dy = load_raw<T, V>(dys + row * a.gradientStride, at);
            const float sum = norm_products<T, V, M>(now.inverse, x, dy, more, its, open, added);
            each(x, dy, more, its, open, added, sum);
        };
        rest([&](i64 at) {
            again(at, [&](const Raw<T, V>&, const Raw<T, V>&, const Raw<T, V>&, const float (&)[V], const float (&)[V], const float (&added)[V],
                float sum) {
                products += sum;
                if (sums)
#pragma unroll
                    for (int i = 0; i < V; i++) sums[at + i] += added[i];
            });
        });
        const float mean = team_sum<Team>(products, place) / static_cast<float>(a.part);
        const i64 out = row * width + first + lane * V;
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * Team * V < held)
                norm_result<T, V, M>(a, out + k * Team * V, now.inverse, mean, now.x[k], now.dy[k], now.other[k], weights[k], sigmoids[k]);
        rest([&](i64 at) {
            again(at, [&](const Raw<T, V>& x, const Raw<T, V>& dy, const Raw<T, V>& more, const float (&its)[V], const float (&open)[V],
                const float (&)[V], float) {
                norm_result<T, V, M>(a, out + at, now.inverse, mean, x, dy, more, its, open);
            });
        });
        now = next;
        if (Team > 32) place = scratch + (place == scratch ? Team / 32 : 0);
    }
    if (!sums) return;
#pragma unroll
    for (int k = 0; k < Kept; k++)
        if (k * Team * V < whole)
#pragma unroll
            for (int i = 0; i < V; i++) sums[k * Team * V + i] = dWeight[k][i];
}

#if NORM_BACKWARD
KERNEL_OF(norm_parts, NORM_THREADS, NORM_BLOCKS, NormGradientArguments,
    norm_backward<NORM_TYPE, NORM_VECTOR, NORM_TEAM, NORM_KEPT, NORM_MODE, NORM_REST, NORM_THREADS>)
#else
KERNEL_OF(norm_parts, NORM_THREADS, NORM_BLOCKS, NormArguments,
    norm_forward<NORM_TYPE, NORM_VECTOR, NORM_TEAM, NORM_KEPT, NORM_MODE, NORM_REST, NORM_THREADS>)
#endif
