// silu(gate) * up and its gradients, one pass each: 3 elements a place forward (2 read, 1 written), 5 backward; about 8 and 14 operations, of which 2 are
// special functions. A block takes 4 vectors a thread of one row; the rows of gate and up may lie apart (halves of one projection).
#include "common.cuh"

struct SwiGluArguments {
    const void *gradient, *gate, *up;                // gradient is null forward
    void *output, *dGate, *dUp;
    i64 width, blocksPerRow, gradientStride, gateStride, upStride;
};

template <class T, int V, bool Backward> __device__ __forceinline__ void swiglu(const SwiGluArguments& a) {
    const i64 row = blockIdx.x / a.blocksPerRow, first = blockIdx.x % a.blocksPerRow * (256 * 4 * V);
    float gate[4][V], up[4][V], gradient[4][V];
#pragma unroll
    for (int k = 0; k < 4; k++) {                    // all loads before the first use
        i64 at = first + (k * 256 + threadIdx.x) * V;
        if (at < a.width) {
            load<T, V>(a.gate, row * a.gateStride + at, gate[k]);
            load<T, V>(a.up, row * a.upStride + at, up[k]);
            if (Backward) load<T, V>(a.gradient, row * a.gradientStride + at, gradient[k]);
        }
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
        i64 at = first + (k * 256 + threadIdx.x) * V;
        if (at >= a.width) continue;
        float left[V], right[V];
#pragma unroll
        for (int i = 0; i < V; i++) {
            float s = sigmoid(gate[k][i]);
            if (Backward) {
                left[i] = gradient[k][i] * up[k][i] * silu_slope(gate[k][i], s);
                right[i] = gradient[k][i] * gate[k][i] * s;
            } else left[i] = gate[k][i] * s * up[k][i];
        }
        store<T, V>(Backward ? a.dGate : a.output, row * a.width + at, left);
        if (Backward) store<T, V>(a.dUp, row * a.width + at, right);
    }
}

#define SWIGLU(type, T, V, size) \
    KERNEL(swiglu_forward_##type##_##size, 256, SwiGluArguments, swiglu<T, V, false>) \
    KERNEL(swiglu_backward_##type##_##size, 256, SwiGluArguments, swiglu<T, V, true>)

SWIGLU(float32, float, 4, vector)
SWIGLU(float32, float, 1, single)
SWIGLU(bfloat16, bfloat16, 8, vector)
SWIGLU(bfloat16, bfloat16, 1, single)
