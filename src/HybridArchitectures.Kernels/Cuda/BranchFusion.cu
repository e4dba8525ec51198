// Two branches, each normed over equal parts of its width and multiplied per channel, joined: sum, difference, gated mix or side by side; and the gradients.
//
// A block of 256 threads takes a row at a time, V neighbouring channels (16 bytes, or one) a thread and step, and holds the first Kept vectors of a thread in registers;
// wider rows are read again, from the first-level cache. A part's sum of squares is taken over neighbouring lanes where it is as wide as 1, 2 ... 32 vectors, else vector
// by vector through shared memory, from where warps add it up in a fixed order. Backward the same with sums of products; a block keeps to its columns over many rows, so
// the gradients of weights and gate gather in registers (past Kept in the block's slice of the result) and are written once a block, to be added up in a fixed order.
// Bytes a row: forward 3 widths, backward 5. About 8 and 25 operations an element. Limits on one H200 for 65536 x 4096 bfloat16: 0.37 ms forward
// (reached: 0.62), 0.62 ms backward.
#include "common.cuh"

struct FusionArguments {
    const void *values[2];
    const float *weights[2], *gate;                  // (width of the branch) each, or null; gate (width)
    float* inverse[2];                               // (rows, groups) of 1 / rms; null where a branch is not normed
    void* output;                                    // rows without gaps, forward; backward the gradient with respect to it, read
    void* dValues[2];                                // rows without gaps
    float *dWeights[2], *dGate;                      // (slices, width), or null
    i64 rows, slices, widths[2], groups[2], strides[2], outputStride;
    float epsilon;
    int kind;                                        // 0 sum, 1 difference, 2 gate, 3 side by side
};

// sums of `count` neighbouring numbers at a time, by warps; `finish` makes of a sum what is wanted
template <class Finish> __device__ __forceinline__ void add_parts(const float* from, i64 groups, i64 count, float* to, const Finish& finish) {
    const int lane = threadIdx.x % 32;
    for (i64 group = threadIdx.x / 32; group < groups; group += 8) {
        float sum = 0;
        for (i64 i = lane; i < count; i += 32) sum += from[group * count + i];
        sum = lane_sum(sum, 32);
        if (lane == 0) to[group] = finish(group, sum);
    }
}

// V weights, or ones; in pieces of 16 bytes where the columns are taken so
template <int V, bool Plain> __device__ __forceinline__ void weights_of(const float* from, i64 at, float (&values)[V]) {
    if constexpr (V % 4 == 0)
#pragma unroll
        for (int i = 0; i < V; i += 4) {
            if (Plain || !from) { values[i] = values[i + 1] = values[i + 2] = values[i + 3] = 1; continue; }
            const Raw<float, 4> four = load_raw<float, 4>(from, at + i);
#pragma unroll
            for (int j = 0; j < 4; j++) values[i + j] = four[j];
        }
    else
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = !Plain && from ? from[at + i] : 1.f;
}

// the part of the vector at that column; a division of 32 bits, since one of 64 costs as much as the vector's sums
template <int V> __device__ __forceinline__ unsigned part_of(i64 at, i64 vectors) { return static_cast<unsigned>(at / V) / static_cast<unsigned>(vectors); }

// where a branch's channels stand in the output
__device__ __forceinline__ i64 offset_of(const FusionArguments& a, int branch) { return a.kind == 3 && branch ? a.widths[0] : 0; }

// the part's sum of what each thread has for its vector, for every thread of it, where parts are `count` lanes
__device__ __forceinline__ float part_sum(float value, i64 count) {
    for (int offset = static_cast<int>(count) / 2; offset > 0; offset /= 2) value += from_lane_xor(value, offset);
    return value;
}

// lanes of a part of so many vectors, or 0 where it does not lie within aligned lanes
__device__ __forceinline__ i64 lanes_of(i64 vectors) { return vectors <= 32 && (vectors & (vectors - 1)) == 0 ? vectors : 0; }

constexpr int Kept = 2;

template <class T, int V, bool Plain> __device__ __forceinline__ void fusion_forward(const FusionArguments& a) {
    DYNAMIC_SHARED(float, shared);
    float *inverse[2], *squares = shared + a.groups[0] + a.groups[1];
    inverse[0] = shared;
    inverse[1] = shared + a.groups[0];
    const i64 row = blockIdx.x;
    Raw<T, V> raw[2][Kept];
    float factors[2][Kept];
#pragma unroll
    for (int branch = 0; branch < 2; branch++)
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
            factors[branch][k] = 1;
            if (at < a.widths[branch]) raw[branch][k] = load_raw<T, V>(a.values[branch], row * a.strides[branch] + at);
        }
#pragma unroll
    for (int branch = 0; branch < 2; branch++) {
        const i64 width = a.widths[branch], groups = a.groups[branch];
        if (!groups) continue;
        const i64 vectors = width / groups / V, lanes = width <= Kept * 256 * V ? lanes_of(vectors) : 0;
        const float part = static_cast<float>(width / groups), epsilon = a.epsilon;
        float* kept = a.inverse[branch] + row * groups;
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
            float sum = 0;
            if (at < width)
#pragma unroll
                for (int i = 0; i < V; i++) sum += raw[branch][k][i] * raw[branch][k][i];
            if (lanes) {
                factors[branch][k] = reciprocal_root(part_sum(sum, lanes) / part + epsilon);
                if (at < width && threadIdx.x % lanes == 0) kept[part_of<V>(at, lanes)] = factors[branch][k];
            } else if (at < width) squares[at / V] = sum;
        }
        if (lanes) continue;
        for (i64 at = (static_cast<i64>(Kept) * 256 + threadIdx.x) * V; at < width; at += 256 * V) {
            float x[V], sum = 0;
            load<T, V>(a.values[branch], row * a.strides[branch] + at, x);
#pragma unroll
            for (int i = 0; i < V; i++) sum += x[i] * x[i];
            squares[at / V] = sum;
        }
        __syncthreads();
        add_parts(squares, groups, vectors, inverse[branch], [=](i64 group, float sum) { return kept[group] = reciprocal_root(sum / part + epsilon); });
        __syncthreads();
#pragma unroll
        for (int k = 0; k < Kept; k++) {
            const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
            if (at < width) factors[branch][k] = inverse[branch][part_of<V>(at, vectors)];
        }
    }
    // x / rms times the weight; of the vectors a thread does not hold too
    const auto normed = [&](int branch, i64 at, const Raw<T, V>& x, float factor, float (&values)[V]) {
        weights_of<V, Plain>(a.weights[branch], at, values);
#pragma unroll
        for (int i = 0; i < V; i++) values[i] *= x[i] * factor;
    };
    const auto join = [&](i64 at, const Raw<T, V>& first, float firstFactor, const Raw<T, V>& second, float secondFactor) {
        float result[V], other[V];
        normed(0, at, first, firstFactor, result);
        normed(1, at, second, secondFactor, other);
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float share = !Plain && a.kind == 2 ? sigmoid(a.gate[at + i]) : 0;
            result[i] = a.kind == 0 ? result[i] + other[i] : Plain || a.kind == 1 ? result[i] - other[i] : other[i] + share * (result[i] - other[i]);
        }
        store<T, V>(a.output, row * a.outputStride + at, result);
    };
    const auto again = [&](int branch, i64 at) { return a.groups[branch] ? inverse[branch][part_of<V>(at, a.widths[branch] / a.groups[branch] / V)] : 1.f; };
    if (a.kind == 3) {
#pragma unroll
        for (int branch = 0; branch < 2; branch++) {
            const i64 offset = row * a.outputStride + offset_of(a, branch);
            float values[V];
#pragma unroll
            for (int k = 0; k < Kept; k++) {
                const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
                if (at >= a.widths[branch]) continue;
                normed(branch, at, raw[branch][k], factors[branch][k], values);
                store<T, V>(a.output, offset + at, values);
            }
            for (i64 at = (static_cast<i64>(Kept) * 256 + threadIdx.x) * V; at < a.widths[branch]; at += 256 * V) {
                normed(branch, at, load_raw<T, V>(a.values[branch], row * a.strides[branch] + at), again(branch, at), values);
                store<T, V>(a.output, offset + at, values);
            }
        }
        return;
    }
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
        if (at < a.widths[0]) join(at, raw[0][k], factors[0][k], raw[1][k], factors[1][k]);
    }
    for (i64 at = (static_cast<i64>(Kept) * 256 + threadIdx.x) * V; at < a.widths[0]; at += 256 * V)
        join(at, load_raw<T, V>(a.values[0], row * a.strides[0] + at), again(0, at), load_raw<T, V>(a.values[1], row * a.strides[1] + at), again(1, at));
}

// n = x / rms of a branch, its gradient by what flows out of the fusion, and that times the weight
template <class T, int V, bool Plain> __device__ __forceinline__ void fusion_terms(const FusionArguments& a, int branch, i64 at, const Raw<T, V>& x, const Raw<T, V>& dy, float inverse,
    const float (&weights)[V], const float (&shares)[V], float (&n)[V], float (&dz)[V], float (&dn)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) {
        n[i] = x[i] * inverse;
        dz[i] = a.kind == 1 && branch ? -dy[i] : !Plain && a.kind == 2 ? dy[i] * (branch ? 1 - shares[i] : shares[i]) : dy[i];
        dn[i] = dz[i] * weights[i];
    }
}

template <int V, bool Plain> __device__ __forceinline__ void shares_of(const FusionArguments& a, i64 at, float (&shares)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) shares[i] = !Plain && a.kind == 2 ? sigmoid(a.gate[at + i]) : 0.f;
}

template <class T, int V, bool Plain> __device__ __forceinline__ void fusion_backward(const FusionArguments& a) {
    DYNAMIC_SHARED(float, shared);                   // means of both branches' parts, then products a vector
    float *means[2], *products = shared + a.groups[0] + a.groups[1];
    means[0] = shared;
    means[1] = shared + a.groups[0];
    const i64 slice = blockIdx.x;
    float dWeights[2][Kept][V], dGate[Kept][V];
#pragma unroll
    for (int k = 0; k < Kept; k++)
#pragma unroll
        for (int i = 0; i < V; i++) dWeights[0][k][i] = dWeights[1][k][i] = dGate[k][i] = 0;
    for (i64 row = slice, first = 1; row < a.rows; row += a.slices, first = 0) {
        Raw<T, V> raw[2][Kept], dys[2][Kept];
#pragma unroll
        for (int branch = 0; branch < 2; branch++)
#pragma unroll
            for (int k = 0; k < Kept; k++) {
                const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
                if (at >= a.widths[branch]) continue;
                raw[branch][k] = load_raw<T, V>(a.values[branch], row * a.strides[branch] + at);
                if (branch && a.kind != 3) dys[1][k] = dys[0][k];
                else dys[branch][k] = load_raw<T, V>(a.output, row * a.outputStride + offset_of(a, branch) + at);
            }
#pragma unroll
        for (int branch = 0; branch < 2; branch++) {
            const i64 width = a.widths[branch], groups = a.groups[branch], part = groups ? width / groups : width, vectors = part / V;
            const i64 lanes = groups && width <= Kept * 256 * V ? lanes_of(vectors) : 0;
            const float* inverse = groups ? a.inverse[branch] + row * groups : nullptr;
            const float size = static_cast<float>(part);
            float mean[Kept];
#pragma unroll
            for (int k = 0; k < Kept; k++) {
                mean[k] = 0;
                const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
                float sum = 0;
                if (groups && at < width) {
                    float n[V], dz[V], dn[V], weights[V], shares[V];
                    weights_of<V, Plain>(a.weights[branch], at, weights);
                    shares_of<V, Plain>(a, at, shares);
                    fusion_terms<T, V, Plain>(a, branch, at, raw[branch][k], dys[branch][k], inverse[part_of<V>(at, vectors)], weights, shares, n, dz, dn);
#pragma unroll
                    for (int i = 0; i < V; i++) sum += dn[i] * n[i];
                }
                if (lanes) mean[k] = part_sum(sum, lanes) / size;
                else if (groups && at < width) products[at / V] = sum;
            }
            if (groups && !lanes) {
                for (i64 at = (static_cast<i64>(Kept) * 256 + threadIdx.x) * V; at < width; at += 256 * V) {
                    float n[V], dz[V], dn[V], weights[V], shares[V], sum = 0;
                    weights_of<V, Plain>(a.weights[branch], at, weights);
                    shares_of<V, Plain>(a, at, shares);
                    fusion_terms<T, V, Plain>(a, branch, at, load_raw<T, V>(a.values[branch], row * a.strides[branch] + at),
                        load_raw<T, V>(a.output, row * a.outputStride + offset_of(a, branch) + at), inverse[part_of<V>(at, vectors)], weights, shares, n, dz, dn);
#pragma unroll
                    for (int i = 0; i < V; i++) sum += dn[i] * n[i];
                    products[at / V] = sum;
                }
                __syncthreads();
                add_parts(products, groups, vectors, means[branch], [=](i64, float sum) { return sum / size; });
                __syncthreads();
#pragma unroll
                for (int k = 0; k < Kept; k++) {
                    const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
                    if (at < width) mean[k] = means[branch][part_of<V>(at, vectors)];
                }
            }
            const auto each = [&](i64 at, const Raw<T, V>& x, const Raw<T, V>& dy, float average, float (&dWeight)[V], float (&dShare)[V]) {
                const float factor = groups ? inverse[part_of<V>(at, vectors)] : 1;
                float n[V], dz[V], dn[V], weights[V], shares[V], dx[V];
                weights_of<V, Plain>(a.weights[branch], at, weights);
                shares_of<V, Plain>(a, at, shares);
                fusion_terms<T, V, Plain>(a, branch, at, x, dy, factor, weights, shares, n, dz, dn);
#pragma unroll
                for (int i = 0; i < V; i++) {
                    dx[i] = (dn[i] - n[i] * average) * factor;
                    if (Plain) continue;
                    dWeight[i] += dz[i] * n[i];
                    const float change = dy[i] * n[i] * weights[i] * shares[i] * (1 - shares[i]);      // d share = dy (first - second)
                    dShare[i] += branch ? -change : change;
                }
                store<T, V>(a.dValues[branch], row * width + at, dx);
            };
#pragma unroll
            for (int k = 0; k < Kept; k++) {
                const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
                if (at < width) each(at, raw[branch][k], dys[branch][k], mean[k], dWeights[branch][k], dGate[k]);
            }
            for (i64 at = (static_cast<i64>(Kept) * 256 + threadIdx.x) * V; at < width; at += 256 * V) {
                float dWeight[V], dShare[V];
#pragma unroll
                for (int i = 0; i < V; i++) {
                    dWeight[i] = !first && a.dWeights[branch] ? a.dWeights[branch][slice * width + at + i] : 0.f;
                    dShare[i] = (!first || branch) && a.dGate ? a.dGate[slice * width + at + i] : 0.f;
                }
                each(at, load_raw<T, V>(a.values[branch], row * a.strides[branch] + at), load_raw<T, V>(a.output, row * a.outputStride + offset_of(a, branch) + at),
                    groups ? means[branch][part_of<V>(at, vectors)] : 0.f, dWeight, dShare);
#pragma unroll
                for (int i = 0; i < V; i++) {
                    if (a.dWeights[branch]) a.dWeights[branch][slice * width + at + i] = dWeight[i];
                    if (a.dGate) a.dGate[slice * width + at + i] = dShare[i];
                }
            }
        }
    }
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        const i64 at = (static_cast<i64>(k) * 256 + threadIdx.x) * V;
#pragma unroll
        for (int branch = 0; branch < 2; branch++)
            if (a.dWeights[branch] && at < a.widths[branch])
#pragma unroll
                for (int i = 0; i < V; i++) a.dWeights[branch][slice * a.widths[branch] + at + i] = dWeights[branch][k][i];
        if (a.dGate && at < a.widths[0])
#pragma unroll
            for (int i = 0; i < V; i++) a.dGate[slice * a.widths[0] + at + i] = dGate[k][i];
    }
}

// `plain`: neither weights nor a gate, as intra-layer hybrids come by default
#define FUSION(kind, type, T, V, size, Plain, Blocks) \
    KERNEL_OF(fusion_forward##kind##type##_##size, 256, Blocks, FusionArguments, fusion_forward<T, V, Plain>) \
    KERNEL_OF(fusion_backward##kind##type##_##size, 256, Blocks, FusionArguments, fusion_backward<T, V, Plain>)

FUSION(_, float32, float, 4, vector, false, 2)
FUSION(_, float32, float, 1, single, false, 2)
FUSION(_, bfloat16, bfloat16, 8, vector, false, 2)
FUSION(_, bfloat16, bfloat16, 1, single, false, 2)
FUSION(_plain_, float32, float, 4, vector, true, 3)
FUSION(_plain_, bfloat16, bfloat16, 8, vector, true, 3)
