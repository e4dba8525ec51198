// The loss of each row of logits, and in their place the gradient with respect to them.
//
// A block takes one row. First every thread keeps the largest logit it has met and the sum of exponentials relative to it, joined over the block; then the row is read
// again, from the second-level cache, and overwritten by scale / counted * ((1 + 2 zLoss logsumexp) softmax - smoothing / V - (1 - smoothing) [target]).
// Rows whose target is `ignored` get loss 0 and gradient 0. Sums are float32; losses are written per row, so nothing depends on the order of blocks.
// Bytes: each logit read once and written once from memory; 2 exponentials and about 12 operations a logit. Limit on one H200 at 8192 x 128256 bfloat16: 0.98 ms
// (reached: 1.28).
#include "common.cuh"

#ifndef CROSS_ENTROPY_AHEAD                          // vectors loaded before the first is used
#define CROSS_ENTROPY_AHEAD 4
#endif
#ifndef CROSS_ENTROPY_THREADS                        // the host has the same number
#define CROSS_ENTROPY_THREADS 1024
#endif

struct CrossEntropyArguments {
    void* logits;                                    // (rows, classes), rows begin at 16 bytes; overwritten where `counted` is given
    const float* bias;                               // (classes), or null
    const i64* targets;                              // (rows)
    float* losses;                                   // (rows)
    const float* counted;                            // one number: the tokens that count; null where no gradient is wanted
    i64 rows, classes, rowStride, ignored;
    float scale, smoothing, zLoss;
};

// the sum of exp2(value - largest) of both, and the largest of both
__device__ __forceinline__ void join(float& largest, float& sum, float otherLargest, float otherSum) {
    const float most = largest > otherLargest ? largest : otherLargest;
    // -inf beside -inf would be NaN
    sum = (largest == most ? sum : sum * exp2_approximate(largest - most)) + (otherLargest == most ? otherSum : otherSum * exp2_approximate(otherLargest - most));
    largest = most;
}

template <class T, int V, bool Bias> __device__ __forceinline__ void cross_entropy(const CrossEntropyArguments& a) {
    constexpr int Threads = CROSS_ENTROPY_THREADS, Ahead = CROSS_ENTROPY_AHEAD;
    DYNAMIC_SHARED(float, scratch);                  // 3 x 32
    const i64 row = blockIdx.x, target = a.targets[row], whole = a.classes / V * V;   // past `whole` one element a thread
    T* logits = static_cast<T*>(a.logits) + row * a.rowStride;
    const i64 begin = static_cast<i64>(threadIdx.x) * V, rest = whole + threadIdx.x;
    if (target == a.ignored) {                       // the whole block
        if (threadIdx.x == 0) a.losses[row] = 0;
        if (a.counted) {
            float zeros[V];
#pragma unroll
            for (int i = 0; i < V; i++) zeros[i] = 0;
            for (i64 at = begin; at < whole; at += Threads * V) store<T, V>(logits, at, zeros);
            if (rest < a.classes) store_one<T>(logits, rest, 0);
        }
        return;
    }
    const float factor = a.scale * log2_e;           // logits in powers of two
    const auto value = [&](float logit, i64 at) { return (Bias ? logit + a.bias[at] : logit) * factor; };
    float largest = -1e38f, sum = 0, all = 0;
    for (i64 first = begin; first < whole; first += Ahead * Threads * V) {
        Raw<T, V> raw[Ahead];
#pragma unroll
        for (int u = 0; u < Ahead; u++)
            if (first + u * Threads * V < whole) raw[u] = load_raw<T, V>(logits, first + u * Threads * V);
        float most = largest;
#pragma unroll
        for (int u = 0; u < Ahead; u++)
            if (first + u * Threads * V < whole)
#pragma unroll
                for (int i = 0; i < V; i++) {
                    const float z = value(raw[u][i], first + u * Threads * V + i);
                    most = z > most ? z : most;
                    all += z;
                }
        sum *= exp2_approximate(largest - most);
        largest = most;
#pragma unroll
        for (int u = 0; u < Ahead; u++)
            if (first + u * Threads * V < whole)
#pragma unroll
                for (int i = 0; i < V; i++) sum += exp2_approximate(value(raw[u][i], first + u * Threads * V + i) - most);
    }
    if (rest < a.classes) {
        const float z = value(to_float(logits[rest]), rest);
        all += z;
        join(largest, sum, z, 1);
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        const float otherLargest = from_lane_xor(largest, offset), otherSum = from_lane_xor(sum, offset);
        join(largest, sum, otherLargest, otherSum);
        all += from_lane_xor(all, offset);
    }
    if (threadIdx.x % 32 == 0) { scratch[threadIdx.x / 32] = largest; scratch[32 + threadIdx.x / 32] = sum; scratch[64 + threadIdx.x / 32] = all; }
    const bool known = target >= 0 && target < a.classes;
    const float own = known ? value(to_float(logits[target]), target) : as_float(0x7fc00000u);      // a target out of range makes the loss NaN
    __syncthreads();                                 // behind it logits may be overwritten
    largest = scratch[0], sum = scratch[32], all = scratch[64];
    for (int warp = 1; warp < Threads / 32; warp++) { join(largest, sum, scratch[warp], scratch[32 + warp]); all += scratch[64 + warp]; }
    const float normalizer = largest + log2_approximate(sum), natural = normalizer / log2_e;        // in powers of two, and of e
    if (threadIdx.x == 0)
        a.losses[row] = (normalizer - (1 - a.smoothing) * own - (a.smoothing > 0 ? a.smoothing * all / static_cast<float>(a.classes) : 0.f)) / log2_e + a.zLoss * natural * natural;
    if (!a.counted) return;
    const float outer = a.scale / *a.counted, slope = outer * (1 + 2 * a.zLoss * natural), base = outer * a.smoothing / static_cast<float>(a.classes);
    // from the end, whose logits are still in the first-level cache
    for (i64 first = begin + (whole - 1) / (Ahead * Threads * V) * (Ahead * Threads * V); first >= 0; first -= Ahead * Threads * V) {
        Raw<T, V> raw[Ahead];
#pragma unroll
        for (int u = 0; u < Ahead; u++)
            if (first + u * Threads * V < whole) raw[u] = load_raw<T, V>(logits, first + u * Threads * V);
#pragma unroll
        for (int u = 0; u < Ahead; u++)
            if (first + u * Threads * V < whole) {
                float result[V];
#pragma unroll
                for (int i = 0; i < V; i++) result[i] = slope * exp2_approximate(value(raw[u][i], first + u * Threads * V + i) - normalizer) - base;
                store<T, V>(logits, first + u * Threads * V, result);
            }
    }
    if (rest < a.classes) store_one<T>(logits, rest, slope * exp2_approximate(value(to_float(logits[rest]), rest) - normalizer) - base);
    // the target's, by the thread that has just written it
    if (known && threadIdx.x == (target < whole ? target / V % Threads : target - whole))
        store_one<T>(logits, target, slope * exp2_approximate(own - normalizer) - base - outer * (1 - a.smoothing));
}

#define CROSS_ENTROPY(type, T, V) \
    KERNEL(cross_entropy_##type, CROSS_ENTROPY_THREADS, CrossEntropyArguments, cross_entropy<T, V, false>) \
    KERNEL(cross_entropy_bias_##type, CROSS_ENTROPY_THREADS, CrossEntropyArguments, cross_entropy<T, V, true>)

CROSS_ENTROPY(float32, float, 4)
CROSS_ENTROPY(bfloat16, bfloat16, 8)

// data *= factor, unless the factor is 1: then nothing is read
struct ScaleArguments {
    void* data;
    const void* factor;                              // one number
    i64 count, factorIsBfloat16;
};

template <class T, int V> __device__ __forceinline__ void scale(const ScaleArguments& a) {
    const float factor = a.factorIsBfloat16 ? load_one<bfloat16>(a.factor, 0) : load_one<float>(a.factor, 0);
    if (factor == 1) return;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const i64 at = ((static_cast<i64>(blockIdx.x) * 4 + k) * 256 + threadIdx.x) * V;
        if (at + V <= a.count) {
            float values[V];
            load<T, V>(a.data, at, values);
#pragma unroll
            for (int i = 0; i < V; i++) values[i] *= factor;
            store<T, V>(a.data, at, values);
        } else
            for (i64 i = at; i < a.count; i++) store_one<T>(a.data, i, load_one<T>(a.data, i) * factor);
    }
}

KERNEL(scale_float32, 256, ScaleArguments, scale<float, 4>)
KERNEL(scale_bfloat16, 256, ScaleArguments, scale<bfloat16, 8>)
