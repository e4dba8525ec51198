// RMS normalization over equal parts of a row: plain, with a SiLU gate before or after it, or of a sum x + residual that is written too; and its
// gradients. One kernel is compiled for a type, a mode and a width of parts (NormLaunchConfiguration has the configurations), so that nothing is
// decided per element and registers contain only used values.
//
// A team of 8 to 512 threads processes a part of a row. Each thread has one or two vectors of 16 bytes (more only for more than 1024 vectors), so
// that a multiprocessor holds 1024 threads forward and 512 backward. Forward: all loads of a part start before the first is used, the weights are
// loaded before the sum over the team, and the values stay in registers. Backward: a team processes the same columns of many rows. The next row and
// its 1 / rms are loaded while the current one is summed. Weights and their gradient stay in registers. The gradient is written once per team and
// added up over teams in a fixed order. The sigmoid of the gate is computed once.
//
// Bytes per row of width w: forward 2 w elements (gate or residual +1, sum +1), backward 3 w (with a gate 5 w, with the output again 6 w, with a
// second gradient 4 w) + 4 w / rows of a team. About 5 to 12 operations per element forward and 10 to 20 backward; with a gate, two of them are
// special functions. Measured on one H100 (3.0 TB/s), 65536 rows in bfloat16, forward and backward with the sum over teams: plain, width 2048, 0.182
// and 0.297 ms (limits 0.181 and 0.271 ms); gated, width 4096, 0.526 and 0.929 ms (limits 0.542 and 0.904 ms); parts of 64 to 512 are within 4 % of
// these.
#include "common.cuh"

#ifndef NORM_TYPE  // an arbitrary shape, if none is given
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

// The value that is normalized: x; x silu(other); x, with the result multiplied by silu(other); x + other, which is written as well and receives a
// second gradient in backward.
enum Mode { Plain, Gated, Opened, Sum };

struct NormArguments {
    const void *x, *other;  // other: the gate or the residual
    void *sum, *output;
    const float* weight;
    float* inverse;                                  // (rows, groups)
    i64 rows, groups, part, xStride, otherStride;
    float epsilon;
};

// `scratch` has one float per warp; the sum after the next one can use it again.
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

// Returns the value that is normalized, and writes it if it is a sum.
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

// A team processes a part. Kept vectors of a thread stay in registers; wider parts (Rest) are read twice.
template <class T, int V, int Team, int Kept, Mode M, bool Rest,
    int Threads> __device__ __forceinline__ void norm_forward(const NormArguments& args) {
    DYNAMIC_SHARED(float, scratch);
    constexpr bool Early = Kept <= 2;  // weights before the sum
    const i64 team = static_cast<i64>(blockIdx.x) * (Threads / Team) + threadIdx.x / Team, width = args.groups * args.part;
    const bool there = team < args.rows * args.groups;
    if (!there && Team >= 32) return;  // whole warps at once
    const i64 row = args.groups == 1 ? team : team / args.groups, firstColumn = (team - row * args.groups) * args.part;
    const int lane = threadIdx.x % Team, held = there ? static_cast<int>(args.part < Kept * Team * V ? args.part : Kept * Team * V) - lane * V : 0;
    const T *x = static_cast<const T*>(args.x) + row * args.xStride + firstColumn + lane * V,
        *other = static_cast<const T*>(args.other) + row * args.otherStride + firstColumn + lane * V;
    const i64 out = row * width + firstColumn + lane * V;
    const float* weight = args.weight ? args.weight + firstColumn + lane * V : nullptr;
    Raw<T, V> raw[Kept], others[Kept];  // all loads before the first use
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
            if (M == Sum) store<T, V>(args.sum, out + k * Team * V, kept[k]);
#pragma unroll
            for (int i = 0; i < V; i++) squares += kept[k][i] * kept[k][i];
        }
    const auto rest = [&](const auto& each) {  // for the vectors that do not stay in registers
        if (Rest)
            for (i64 at = static_cast<i64>(Kept) * Team * V; at + lane * V < args.part; at += Team * V) {
                Raw<T, V> more{};
                if (M != Plain) more = load_raw<T, V>(other, at);
                float value[V];
                normed_input<T, V, M>(load_raw<T, V>(x, at), more, value);
                each(at, more, value);
            }
    };
    rest([&](i64 at, const Raw<T, V>&, float (&value)[V]) {
        if (M == Sum) store<T, V>(args.sum, out + at, value);
#pragma unroll
        for (int i = 0; i < V; i++) squares += value[i] * value[i];
    });
    const float inverse = reciprocal_root(team_sum<Team>(squares, scratch) / static_cast<float>(args.part) + args.epsilon);
    if (there && lane == 0) args.inverse[team] = inverse;
#pragma unroll
    for (int k = 0; k < Kept; k++)
        if (k * Team * V < held) {
            if (!Early) channels_of<V>(weight, k * Team * V, 1, weights[k]);
            write_normed<T, V, M>(args.output, out + k * Team * V, inverse, weights[k], others[k], kept[k]);
        }
    rest([&](i64 at, const Raw<T, V>& more, float (&value)[V]) {
        float its[V];
        channels_of<V>(weight, at, 1, its);
        write_normed<T, V, M>(args.output, out + at, inverse, its, more, value);
    });
}

struct NormGradientArguments {
    const void *gradient, *x, *other;  // other: the gate, or the second gradient of x
    const float *weight, *inverse;
    void *dX, *dGate, *output;  // output: with a gate, receives the output again, or is null; may be the gradient
    float* dWeight;                                  // (slices, width), or null
    i64 rows, groups, part, slices, gradientStride, xStride, otherStride, dXStride, dGateStride;  // output: as dX
};

// n = (gated) x / rms, the gradient of n w (dy, or dy silu(gate) if the gate comes after), and the sigmoid of the gate: the operands of the sums.
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
    const NormGradientArguments& args, i64 at, i64 gateAt, float inverse, float mean, const Raw<T, V>& x, const Raw<T, V>& dy,
    const Raw<T, V>& other, const float (&weights)[V], const float (&sigmoids)[V]) {
    float dx[V], dGate[V], normed[V];
    mean *= inverse;  // of dn n, times 1 / rms: the multiplier of x
#pragma unroll
    for (int i = 0; i < V; i++) {
        if (M == Gated) {
            const float open = other[i] * sigmoids[i], d = (dy[i] * weights[i] - x[i] * open * mean) * inverse;
            dx[i] = d * open;
            dGate[i] = d * x[i] * (sigmoids[i] + open * (1 - sigmoids[i]));
            normed[i] = x[i] * open * (inverse * weights[i]);
        } else if (M == Opened) {
            const float open = other[i] * sigmoids[i], n = x[i] * inverse, through = dy[i] * weights[i];
            dx[i] = (through * open - x[i] * mean) * inverse;
            dGate[i] = through * n * (sigmoids[i] + open * (1 - sigmoids[i]));
            normed[i] = x[i] * (inverse * weights[i]) * open;
        } else {
            dx[i] = (dy[i] * weights[i] - x[i] * mean) * inverse;
            if (M == Sum) dx[i] += other[i];
        }
    }
    store<T, V>(args.dX, at, dx);
    if (M == Gated || M == Opened) {
        store<T, V>(args.dGate, gateAt, dGate);
        if (args.output) store<T, V>(args.output, at, normed);  // as in forward, to the bit
    }
}

template <class T, int V, int Team, int Kept, Mode M, bool Rest,
    int Threads> __device__ __forceinline__ void norm_backward(const NormGradientArguments& args) {
    DYNAMIC_SHARED(float, scratch);
    const i64 team = static_cast<i64>(blockIdx.x) * (Threads / Team) + threadIdx.x / Team, width = args.groups * args.part;
    const bool there = team < args.slices * args.groups;
    if (!there && Team >= 32) return;  // whole warps at once
    const i64 slice = args.groups == 1 ? team : team / args.groups, group = team - slice * args.groups, firstColumn = group * args.part;
    const int lane = threadIdx.x % Team, whole = there ? static_cast<int>(args.part < Kept * Team * V ? args.part : Kept * Team * V) - lane * V : 0;
    const T *xs = static_cast<const T*>(args.x) + firstColumn + lane * V, *dys = static_cast<const T*>(args.gradient) + firstColumn + lane * V,
        *others = static_cast<const T*>(args.other) + firstColumn + lane * V;
    const float* weight = args.weight ? args.weight + firstColumn + lane * V : nullptr;
    float* sums = args.dWeight ? args.dWeight + slice * width + firstColumn + lane * V : nullptr;
    float dWeight[Kept][V], weights[Kept][V];
#pragma unroll
    for (int k = 0; k < Kept; k++) {
#pragma unroll
        for (int i = 0; i < V; i++) dWeight[k][i] = 0;
        if (k * Team * V < whole) channels_of<V>(weight, k * Team * V, 1, weights[k]);
    }
    const auto rest = [&](const auto& each) {  // for the columns that do not stay in registers
        if (Rest)
            for (i64 at = static_cast<i64>(Kept) * Team * V; at + lane * V < args.part; at += Team * V) each(at);
    };
    rest([&](i64 at) {
        if (sums)
#pragma unroll
            for (int i = 0; i < V; i++) sums[at + i] = 0;
    });
    struct Row { Raw<T, V> x[Kept], dy[Kept], other[Kept]; float inverse; };
    const auto fetch = [&](i64 row, Row& to) {
        if (!there || row >= args.rows) return;
        to.inverse = args.inverse[row * args.groups + group];
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * Team * V < whole) {
                to.x[k] = load_raw<T, V>(xs + row * args.xStride, k * Team * V);
                to.dy[k] = load_raw<T, V>(dys + row * args.gradientStride, k * Team * V);
                if (M != Plain) to.other[k] = load_raw<T, V>(others + row * args.otherStride, k * Team * V);
            }
    };
    Row now, next;  // the next row is loaded while this one is summed over the team
    fetch(slice, now);
    float* teamScratch = scratch;
    for (i64 row = slice; row - slice < args.rows; row += args.slices) {  // the teams of a warp have the same number of iterations
        if (Team >= 32 && row >= args.rows) break;
        const int held = Team >= 32 || row < args.rows ? whole : 0;
        fetch(row + args.slices, next);
        float products = 0, sigmoids[Kept][V];
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * Team * V < held)
                products += norm_products<T, V, M>(now.inverse, now.x[k], now.dy[k], now.other[k], weights[k], sigmoids[k], dWeight[k]);
        const auto again = [&](i64 at, const auto& each) {
            Raw<T, V> more{};
            if (M != Plain) more = load_raw<T, V>(others + row * args.otherStride, at);
            float its[V], open[V], added[V];
            channels_of<V>(weight, at, 1, its);
#pragma unroll
            for (int i = 0; i < V; i++) added[i] = 0;
            const Raw<T, V> x = load_raw<T, V>(xs + row * args.xStride, at), dy = load_raw<T, V>(dys + row * args.gradientStride, at);
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
        const float mean = team_sum<Team>(products, teamScratch) / static_cast<float>(args.part);
        const i64 out = row * args.dXStride + firstColumn + lane * V, gateOut = row * args.dGateStride + firstColumn + lane * V;
#pragma unroll
        for (int k = 0; k < Kept; k++)
            if (k * Team * V < held)
                norm_result<T, V, M>(args, out + k * Team * V, gateOut + k * Team * V, now.inverse, mean, now.x[k], now.dy[k], now.other[k],
                    weights[k], sigmoids[k]);
        rest([&](i64 at) {
            again(at, [&](const Raw<T, V>& x, const Raw<T, V>& dy, const Raw<T, V>& more, const float (&its)[V], const float (&open)[V],
                const float (&)[V], float) {
                norm_result<T, V, M>(args, out + at, gateOut + at, now.inverse, mean, x, dy, more, its, open);
            });
        });
        now = next;
        if (Team > 32) teamScratch = scratch + (teamScratch == scratch ? Team / 32 : 0);
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
