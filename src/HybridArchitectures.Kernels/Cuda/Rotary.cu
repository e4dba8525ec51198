// Turns pairs (i, i + half) of every head by the token's angles: a' = a cos - b sin, b' = b cos + a sin; the gradient is the turn back. Channels past the pairs
// are copied. A block of 128 threads takes a token with all its heads; cosines and sines of the token come from the first-level cache after the first head.
// 2 elements moved and 3 operations a channel. Input and output may be one tensor: a pair is read before it is written, by one thread.
#include "common.cuh"

struct RotaryArguments {
    const void* x;
    const float *cosine, *sine;                      // (1 or batch, length, half)
    void* output;
    i64 length, heads, size, half, rowStride, tokenStride, headStride, outputRow, outputToken, outputHead, tableRow;
    float sign;
};

template <class T, int V> __device__ __forceinline__ void rotary(const RotaryArguments& a) {
    const i64 row = blockIdx.x / a.length, token = blockIdx.x % a.length;
    const i64 from = row * a.rowStride + token * a.tokenStride, to = row * a.outputRow + token * a.outputToken;
    const float *cosine = a.cosine + row * a.tableRow + token * a.half, *sine = a.sine + row * a.tableRow + token * a.half;
    const int steps = static_cast<int>(a.half / V), rest = static_cast<int>(a.size - 2 * a.half) / V, share = steps + rest;
    for (int item = threadIdx.x; item < a.heads * share; item += 128) {
        const int head = item / share, step = item % share;
        const i64 source = from + head * a.headStride, target = to + head * a.outputHead;
        float left[V];
        if (step < steps) {
            const i64 at = static_cast<i64>(step) * V;
            float right[V], turnedLeft[V], turnedRight[V];
            load<T, V>(a.x, source + at, left);
            load<T, V>(a.x, source + a.half + at, right);
#pragma unroll
            for (int i = 0; i < V; i++) {
                float c = cosine[at + i], s = sine[at + i] * a.sign;
                turnedLeft[i] = left[i] * c - right[i] * s;
                turnedRight[i] = right[i] * c + left[i] * s;
            }
            store<T, V>(a.output, target + at, turnedLeft);
            store<T, V>(a.output, target + a.half + at, turnedRight);
        } else {
            const i64 at = 2 * a.half + static_cast<i64>(step - steps) * V;
            load<T, V>(a.x, source + at, left);
            store<T, V>(a.output, target + at, left);
        }
    }
}

KERNEL(rotary_float32_vector, 128, RotaryArguments, rotary<float, 4>)
KERNEL(rotary_float32_single, 128, RotaryArguments, rotary<float, 1>)
KERNEL(rotary_bfloat16_vector, 128, RotaryArguments, rotary<bfloat16, 8>)
KERNEL(rotary_bfloat16_single, 128, RotaryArguments, rotary<bfloat16, 1>)
