// The losses of rows of logits that arrive in chunks of classes, and the gradient with respect to the logits of a chunk, which replaces them.
//
// statistics: a block processes one row of the chunk. Each thread tracks the maximum logit and the sum of exponentials relative to it. These are
// joined over the block, and then with the result of the previous chunks in `statistics`. After the last chunk, the loss is computed and the
// normalizer, log2 of the sum of all exponentials, is stored.
// gradient: with the normalizer, each logit is independent and is overwritten by scale / counted * ((1 + 2 zLoss logsumexp) softmax - smoothing / V -
// (1 - smoothing) [target]). Rows whose target is `ignored` have loss 0 and gradient 0.
// scale: multiplies gradients, which are computed for an incoming gradient of 1, by the incoming one.
//
// Sums are float32, chunks are processed in order, and losses are written per row, so results do not depend on the order of blocks. Each logit is
// read once forward, and read and written once backward, with 2 exponentials and about 12 operations. Limits on one H200 for 8192 x 128256 in
// bfloat16: 0.49 ms forward, 0.98 ms backward.
#include "common.cuh"

#ifndef CROSS_ENTROPY_AHEAD                          // vectors loaded before the first is used
#define CROSS_ENTROPY_AHEAD 4
#endif
#ifndef CROSS_ENTROPY_THREADS                        // the host has the same number
#define CROSS_ENTROPY_THREADS 256
#endif

struct CrossEntropyArguments {
    void* logits;  // (rows, classes), rows start at multiples of 16 bytes; overwritten by the gradient
    const float* bias;  // (classes) of the chunk, or null
    const i64* targets;                              // (rows)
    // (rows, 4): the maximum logit, the sum relative to it, the sum of logits, the logit of the target; after the last chunk, the normalizer is first
    float* statistics;
    float* losses;                                   // (rows)
    const float* counted;  // one number: the tokens that count
    const void* incoming;  // one number: the gradient of the loss, by which `scale` multiplies
    i64 rows, classes, rowStride, firstClass, allClasses, ignored, incomingIsBFloat16;
    float scale, smoothing, zLoss;
};

// Returns the sum of exp2(value - maximum) of both, and the maximum of both.
__device__ __forceinline__ void join(float& maximum, float& sum, float otherMaximum, float otherSum) {
    const float newMaximum = maximum > otherMaximum ? maximum : otherMaximum;
    // -inf minus -inf would be NaN.
    sum = (maximum == newMaximum ? sum : sum * exp2_approximate(maximum - newMaximum))
        + (otherMaximum == newMaximum ? otherSum : otherSum * exp2_approximate(otherMaximum - newMaximum));
    maximum = newMaximum;
}

// A row of the chunk in one block: whole vectors, Ahead of them loaded at a time, then the rest, one element per thread.
template <class T, int V, bool Bias> struct CrossEntropyRow {
    static constexpr int Threads = CROSS_ENTROPY_THREADS, Ahead = CROSS_ENTROPY_AHEAD, Pass = Ahead * Threads * V;

    const CrossEntropyArguments& args;
    i64 row, target, whole, begin, rest, targetIndex;  // targetIndex: the index of the target in the chunk, if it is there
    T* logits;
    float factor;

    __device__ __forceinline__ explicit CrossEntropyRow(const CrossEntropyArguments& arguments) : args(arguments) {
        row = blockIdx.x;
        target = args.targets[row];
        whole = args.classes / V * V;
        begin = static_cast<i64>(threadIdx.x) * V;
        rest = whole + threadIdx.x;
        targetIndex = target - args.firstClass;
        logits = static_cast<T*>(args.logits) + row * args.rowStride;
        factor = args.scale * log2_e;  // logits in powers of two
    }

    __device__ __forceinline__ bool holds_target() const { return targetIndex >= 0 && targetIndex < args.classes; }

    __device__ __forceinline__ float value(float logit, i64 at) const { return (Bias ? logit + args.bias[at] : logit) * factor; }

    __device__ __forceinline__ void load_pass(i64 passStart, Raw<T, V> (&raw)[Ahead]) const {
#pragma unroll
        for (int ahead = 0; ahead < Ahead; ahead++)
            if (passStart + ahead * Threads * V < whole) raw[ahead] = load_raw<T, V>(logits, passStart + ahead * Threads * V);
    }

    __device__ __forceinline__ void statistics() const {
        DYNAMIC_SHARED(float, scratch);              // 3 x 32
        float* saved = args.statistics + row * 4;
        const bool isFirst = args.firstClass == 0, isLast = args.firstClass + args.classes == args.allClasses;
        if (target == args.ignored) {  // the whole block
            if (threadIdx.x == 0 && isLast) args.losses[row] = 0;
            return;
        }
        float maximum = -1e38f, sum = 0, all = 0;
        for (i64 passStart = begin; passStart < whole; passStart += Pass) {
            Raw<T, V> raw[Ahead];
            load_pass(passStart, raw);
            float newMaximum = maximum;
#pragma unroll
            for (int ahead = 0; ahead < Ahead; ahead++)
                if (passStart + ahead * Threads * V < whole)
#pragma unroll
                    for (int i = 0; i < V; i++) {
                        const float logit = value(raw[ahead][i], passStart + ahead * Threads * V + i);
                        newMaximum = logit > newMaximum ? logit : newMaximum;
                        all += logit;
                    }
            sum *= exp2_approximate(maximum - newMaximum);
            maximum = newMaximum;
#pragma unroll
            for (int ahead = 0; ahead < Ahead; ahead++)
                if (passStart + ahead * Threads * V < whole)
#pragma unroll
                    for (int i = 0; i < V; i++) sum += exp2_approximate(value(raw[ahead][i], passStart + ahead * Threads * V + i) - newMaximum);
        }
        if (rest < args.classes) {
            const float logit = value(to_float(logits[rest]), rest);
            all += logit;
            join(maximum, sum, logit, 1);
        }
#pragma unroll
        for (int offset = 16; offset > 0; offset /= 2) {
            const float otherMaximum = from_lane_xor(maximum, offset), otherSum = from_lane_xor(sum, offset);
            join(maximum, sum, otherMaximum, otherSum);
            all += from_lane_xor(all, offset);
        }
        if (threadIdx.x % 32 == 0) { scratch[threadIdx.x / 32] = maximum; scratch[32 + threadIdx.x / 32] = sum;
            scratch[64 + threadIdx.x / 32] = all; }
        __syncthreads();
        if (threadIdx.x != 0) return;
        for (int warp = 1; warp < Threads / 32; warp++) { join(maximum, sum, scratch[warp], scratch[32 + warp]); all += scratch[64 + warp]; }
        float chosen = as_float(0x7fc00000u);  // a target out of range makes the loss NaN
        if (!isFirst) {
            join(maximum, sum, saved[0], saved[1]);
            all += saved[2];
            chosen = saved[3];
        }
        if (holds_target()) chosen = value(to_float(logits[targetIndex]), targetIndex);
        if (isLast) {
            const float normalizer = maximum + log2_approximate(sum), natural = normalizer / log2_e;  // in powers of two, and of e
            args.losses[row] = (normalizer - (1 - args.smoothing) * chosen
            - (args.smoothing > 0 ? args.smoothing * all / static_cast<float>(args.allClasses) : 0.f)) / log2_e + args.zLoss * natural * natural;
            maximum = normalizer;
        }
        saved[0] = maximum; saved[1] = sum; saved[2] = all; saved[3] = chosen;
    }

    __device__ __forceinline__ void gradient() const {
        if (target == args.ignored) {
            float zeros[V];
#pragma unroll
            for (int i = 0; i < V; i++) zeros[i] = 0;
            for (i64 at = begin; at < whole; at += Threads * V) store<T, V>(logits, at, zeros);
            if (rest < args.classes) store_one<T>(logits, rest, 0);
            return;
        }
        const float normalizer = args.statistics[row * 4];
        const float outer = args.scale / *args.counted, slope = outer * (1 + 2 * args.zLoss * (normalizer / log2_e)),
            base = outer * args.smoothing / static_cast<float>(args.allClasses);
        const auto result = [&](float logit, i64 at) {
            const float plain = slope * exp2_approximate(value(logit, at) - normalizer) - base;
            return at == targetIndex ? plain - outer * (1 - args.smoothing) : plain;
        };
        for (i64 passStart = begin; passStart < whole; passStart += Pass) {
            Raw<T, V> raw[Ahead];
            load_pass(passStart, raw);
#pragma unroll
            for (int ahead = 0; ahead < Ahead; ahead++)
                if (passStart + ahead * Threads * V < whole) {
                    float results[V];
#pragma unroll
                    for (int i = 0; i < V; i++) results[i] = result(raw[ahead][i], passStart + ahead * Threads * V + i);
                    store<T, V>(logits, passStart + ahead * Threads * V, results);
                }
        }
        if (rest < args.classes) store_one<T>(logits, rest, result(to_float(logits[rest]), rest));
    }
};

template <class T, int V, bool Bias> __device__ __forceinline__ void cross_entropy_statistics(
    const CrossEntropyArguments& args) { CrossEntropyRow<T, V, Bias>(args).statistics(); }
template <class T, int V, bool Bias> __device__ __forceinline__ void cross_entropy_gradient(
    const CrossEntropyArguments& args) { CrossEntropyRow<T, V, Bias>(args).gradient(); }

// Multiplies `classes` numbers at `logits` by the incoming gradient. The usual one is 1, for which nothing is read or written.
template <class T, int V> __device__ __forceinline__ void cross_entropy_scale(const CrossEntropyArguments& args) {
    constexpr int PerBlock = 16 * 1024;  // the host has the same number
    const float incoming = args.incomingIsBFloat16 ? load_one<bfloat16>(args.incoming, 0) : load_one<float>(args.incoming, 0);
    if (incoming == 1.f) return;
    const i64 begin = static_cast<i64>(blockIdx.x) * PerBlock, end = begin + PerBlock < args.classes ? begin + PerBlock : args.classes;
    const i64 whole = begin + (end - begin) / V * V;
    for (i64 at = begin + static_cast<i64>(threadIdx.x) * V; at < whole; at += CROSS_ENTROPY_THREADS * V) {
        const Raw<T, V> raw = load_raw<T, V>(args.logits, at);
        float results[V];
#pragma unroll
        for (int i = 0; i < V; i++) results[i] = raw[i] * incoming;
        store<T, V>(args.logits, at, results);
    }
    const i64 rest = whole + threadIdx.x;
    if (rest < end) store_one<T>(args.logits, rest, load_one<T>(args.logits, rest) * incoming);
}

#define CROSS_ENTROPY(type, T, V) \
    KERNEL(cross_entropy_scale_##type, CROSS_ENTROPY_THREADS, CrossEntropyArguments, cross_entropy_scale<T, V>) \
    KERNEL(cross_entropy_statistics_##type, CROSS_ENTROPY_THREADS, CrossEntropyArguments, cross_entropy_statistics<T, V, false>) \
    KERNEL(cross_entropy_statistics_bias_##type, CROSS_ENTROPY_THREADS, CrossEntropyArguments, cross_entropy_statistics<T, V, true>) \
    KERNEL(cross_entropy_gradient_##type, CROSS_ENTROPY_THREADS, CrossEntropyArguments, cross_entropy_gradient<T, V, false>) \
    KERNEL(cross_entropy_gradient_bias_##type, CROSS_ENTROPY_THREADS, CrossEntropyArguments, cross_entropy_gradient<T, V, true>)

CROSS_ENTROPY(float32, float, 4)
CROSS_ENTROPY(bfloat16, bfloat16, 8)
