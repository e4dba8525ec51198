// silu(gate) * up and its gradients, one pass each: 3 elements a place forward (2 read, 1 written), 5 backward; about 8 and 14 operations, of which 2
// are special functions. A block takes one vector a thread of one row; the rows of gate and up may lie apart (halves of one projection). Limits on
// one H200 at 65536 x 8192 bfloat16: 0.75 ms forward (reached: 0.73), 1.25 ms backward (1.24).
#include "common.cuh"

#ifndef SWIGLU_VECTORS                               // of a thread; the host has the same number
#define SWIGLU_VECTORS 1
#endif

struct SwiGluArguments {
    const void *gradient, *gate, *up;                // gradient is null forward
    void *output, *dGate, *dUp;
    i64 width, blocksPerRow, gradientStride, gateStride, upStride;
};

template <class T, int V, bool Backward> __device__ __forceinline__ void swiglu(const SwiGluArguments& a) {
    constexpr int Vectors = SWIGLU_VECTORS;
    // 32 bits: a division of 64 costs as much as all else here
    const unsigned perRow = static_cast<unsigned>(a.blocksPerRow), at32 = blockIdx.x / perRow;
    const i64 row = at32, first = static_cast<i64>(blockIdx.x - at32 * perRow) * (256 * Vectors * V);
    Raw<T, V> gate[Vectors], up[Vectors], gradient[Vectors];
#pragma unroll
    for (int k = 0; k < Vectors; k++) {              // all loads before the first use
        i64 at = first + (k * 256 + threadIdx.x) * V;
        if (at < a.width) {
            gate[k] = load_raw<T, V>(a.gate, row * a.gateStride + at);
            up[k] = load_raw<T, V>(a.up, row * a.upStride + at);
            if (Backward) gradient[k] = load_raw<T, V>(a.gradient, row * a.gradientStride + at);
        }
    }
#pragma unroll
    for (int k = 0; k < Vectors; k++) {
        i64 at = first + (k * 256 + threadIdx.x) * V;
        if (at >= a.width) continue;
        float left[V], right[V];
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float z = gate[k][i], s = sigmoid(z);
            if (Backward) {
                const float dy = gradient[k][i];
                left[i] = dy * up[k][i] * silu_slope(z, s);
                right[i] = dy * z * s;
            } else left[i] = z * s * up[k][i];
        }
        store_stream<T, V>(Backward ? a.dGate : a.output, row * a.width + at, left);
        if (Backward) store_stream<T, V>(a.dUp, row * a.width + at, right);
    }
}

#define SWIGLU(type, T, V, size) \
    KERNEL(swiglu_forward_##type##_##size, 256, SwiGluArguments, swiglu<T, V, false>) \
    KERNEL(swiglu_backward_##type##_##size, 256, SwiGluArguments, swiglu<T, V, true>)

SWIGLU(float32, float, 4, vector)
SWIGLU(float32, float, 1, single)
SWIGLU(bfloat16, bfloat16, 8, vector)
SWIGLU(bfloat16, bfloat16, 1, single)
