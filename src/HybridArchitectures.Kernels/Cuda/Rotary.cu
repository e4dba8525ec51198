// Turns pairs (i, i + half) of every head by the token's angles: a' = a cos - b sin, b' = b cos + a sin; the gradient is the turn back. Channels past
// the pairs are copied. A block of 128 threads takes a token with all its heads; cosines and sines of the token come from the first-level cache after
// the first head. 2 elements moved and 3 operations a channel. Input and output may be one tensor: a pair is read before it is written, by one
// thread.
#include "common.cuh"

struct RotaryArguments {
    const void* x;
    const float *cosine, *sine;                      // (1 or batch, length, half)
    void* output;
    i64 length, heads, size, half, rowStride, tokenStride, headStride, outputRow, outputToken, outputHead, tableRow;
    float sign;
};

// a step of a head: V pairs turned, or V channels past the pairs copied
template <class T, int V> __device__ __forceinline__ void turn(
    const void* from, i64 source, void* to, i64 target, int step, int steps, i64 half, const float* cosine,
    const float* sine, float sign) {
    float left[V];
    if (step < steps) {
        const i64 at = static_cast<i64>(step) * V;
        float right[V], turnedLeft[V], turnedRight[V];
        load<T, V>(from, source + at, left);
        load<T, V>(from, source + half + at, right);
#pragma unroll
        for (int i = 0; i < V; i++) {
            float c = cosine[at + i], s = sine[at + i] * sign;
            turnedLeft[i] = left[i] * c - right[i] * s;
            turnedRight[i] = right[i] * c + left[i] * s;
        }
        store<T, V>(to, target + at, turnedLeft);
        store<T, V>(to, target + half + at, turnedRight);
    } else {
        const i64 at = 2 * half + static_cast<i64>(step - steps) * V;
        load<T, V>(from, source + at, left);
        store<T, V>(to, target + at, left);
    }
}

template <class T, int V> __device__ __forceinline__ void rotary(const RotaryArguments& a) {
    const i64 row = blockIdx.x / a.length, token = blockIdx.x % a.length;
    const i64 from = row * a.rowStride + token * a.tokenStride, to = row * a.outputRow + token * a.outputToken;
    const float *cosine = a.cosine + row * a.tableRow + token * a.half, *sine = a.sine + row * a.tableRow + token * a.half;
    const int steps = static_cast<int>(a.half / V), rest = static_cast<int>(a.size - 2 * a.half) / V, share = steps + rest;
    for (int item = threadIdx.x; item < a.heads * share; item += 128) {
        const int head = item / share, step = item % share;
        turn<T, V>(a.x, from + head * a.headStride, a.output, to + head * a.outputHead, step, steps, a.half, cosine, sine, a.sign);
    }
}

KERNEL(rotary_float32_vector, 128, RotaryArguments, rotary<float, 4>)
KERNEL(rotary_float32_single, 128, RotaryArguments, rotary<float, 1>)
KERNEL(rotary_bfloat16_vector, 128, RotaryArguments, rotary<bfloat16, 8>)
KERNEL(rotary_bfloat16_single, 128, RotaryArguments, rotary<bfloat16, 1>)

// A decoding step: the new queries are turned, the new keys are turned into the cache, the new values are copied there. Positions come from
// lengths on the
// device, so that one launch, captured in a graph, serves every length. A block takes one token of one row.
struct AppendArguments {
    const void *query, *key, *value;                 // (batch, length, heads, size); query is null where it is not turned
    const float *cosine, *sine;                      // (tableLength, half): of position p in line p
    const int* lengths;                              // (batch), tokens of each row, the new ones included
    void *turned, *keys, *values;                    // turned: as query, without gaps; the cache: (batch, slots, heads, size)
    i64* positions;                                  // (batch, slots), the position that each slot holds, or null
    i64 length, queryHeads, keyHeads, size, valueSize, half, tableLength, slots, sinks, window;      // window is 0 where slot p holds position p
    i64 queryRow, queryToken, queryHead, keyRow, keyToken, keyHead, valueRow, valueToken, valueHead;
    i64 keysRow, keysSlot, keysHead, valuesRow, valuesSlot, valuesHead, positionsRow;
};

template <class T, int V> __device__ __forceinline__ void append(const AppendArguments& a) {
    const i64 row = blockIdx.x / a.length, token = blockIdx.x % a.length, position = a.lengths[row] - a.length + token;
    const i64 slot = a.window == 0 || position < a.sinks ? position : a.sinks + (position - a.sinks) % a.window;
    const bool kept = position >= 0 && slot < a.slots;
    const i64 line = (position < 0 ? 0 : position < a.tableLength ? position : a.tableLength - 1) * a.half;
    const float *cosine = a.cosine + line, *sine = a.sine + line;
    const int steps = static_cast<int>(a.half / V), share = steps + static_cast<int>(a.size - 2 * a.half) / V,
        parts = static_cast<int>(a.valueSize / V);
    const int queries = a.query ? static_cast<int>(a.queryHeads) * share : 0, keys = queries + static_cast<int>(a.keyHeads) * share;
    for (int item = threadIdx.x; item < keys + a.keyHeads * parts; item += 256) {
        if (item < queries) {
            const int head = item / share;
            turn<T, V>(a.query, row * a.queryRow + token * a.queryToken + head * a.queryHead, a.turned,
                ((row * a.length + token) * a.queryHeads + head) * a.size,
                item % share, steps, a.half, cosine, sine, 1);
        } else if (!kept) continue;
        else if (item < keys) {
            const int head = (item - queries) / share;
            turn<T, V>(a.key, row * a.keyRow + token * a.keyToken + head * a.keyHead, a.keys, row * a.keysRow + slot * a.keysSlot + head * a.keysHead,
                (item - queries) % share, steps, a.half, cosine, sine, 1);
        } else {
            const int head = (item - keys) / parts, at = (item - keys) % parts * V;
            float part[V];
            load<T, V>(a.value, row * a.valueRow + token * a.valueToken + head * a.valueHead + at, part);
            store<T, V>(a.values, row * a.valuesRow + slot * a.valuesSlot + head * a.valuesHead + at, part);
        }
    }
    if (a.positions && kept && threadIdx.x == 0) a.positions[row * a.positionsRow + slot] = position;
}

KERNEL(append_float32_vector, 256, AppendArguments, append<float, 4>)
KERNEL(append_float32_single, 256, AppendArguments, append<float, 1>)
KERNEL(append_bfloat16_vector, 256, AppendArguments, append<bfloat16, 8>)
KERNEL(append_bfloat16_single, 256, AppendArguments, append<bfloat16, 1>)
