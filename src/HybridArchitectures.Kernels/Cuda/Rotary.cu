// Rotates pairs (i, i + half) of every head by the angles of the token: a' = a cos - b sin, b' = b cos + a sin. The gradient is the reverse rotation.
// Channels after the pairs are copied. A block of 128 threads processes a token with all its heads. The cosines and sines of the token come from the
// first-level cache after the first head. 2 elements are moved and 3 operations are needed per channel. Input and output can be the same tensor,
// because one thread reads a pair before it writes it.
#include "common.cuh"

struct RotaryArguments {
    const void* x;
    const float *cosine, *sine;                      // (1 or batch, length, half)
    void* output;
    i64 length, heads, size, half, rowStride, tokenStride, headStride, outputRow, outputToken, outputHead, tableRow;
    float sign;
};

// Processes V pairs of a head, or copies V channels after the pairs.
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

template <class T, int V> __device__ __forceinline__ void rotary(const RotaryArguments& args) {
    const i64 row = blockIdx.x / args.length, token = blockIdx.x % args.length;
    const i64 from = row * args.rowStride + token * args.tokenStride, to = row * args.outputRow + token * args.outputToken;
    const float *cosine = args.cosine + row * args.tableRow + token * args.half, *sine = args.sine + row * args.tableRow + token * args.half;
    const int steps = static_cast<int>(args.half / V), rest = static_cast<int>(args.size - 2 * args.half) / V, share = steps + rest;
    for (int item = threadIdx.x; item < args.heads * share; item += 128) {
        const int head = item / share, step = item % share;
        turn<T, V>(args.x, from + head * args.headStride, args.output, to + head * args.outputHead, step, steps, args.half, cosine, sine, args.sign);
    }
}

KERNEL(rotary_float32_vector, 128, RotaryArguments, rotary<float, 4>)
KERNEL(rotary_float32_single, 128, RotaryArguments, rotary<float, 1>)
KERNEL(rotary_bfloat16_vector, 128, RotaryArguments, rotary<bfloat16, 8>)
KERNEL(rotary_bfloat16_single, 128, RotaryArguments, rotary<bfloat16, 1>)

// A decoding step: rotates the new queries, rotates the new keys into the cache, and copies the new values to the cache. Positions come from lengths
// on the device, so one launch, captured in a graph, serves every length. A block processes one token of one row.
struct AppendArguments {
    const void *query, *key, *value;  // (batch, length, heads, size); query is null if it is not rotated
    const float *cosine, *sine;  // (tableLength, half): line p is for position p
    const int* lengths;  // (batch), the number of tokens of each row, including the new ones
    void *turned, *keys, *values;  // turned: like query, contiguous; the cache: (batch, slots, heads, size)
    i64* positions;  // (batch, slots), the position in each slot, or null
    i64 length, queryHeads, keyHeads, size, valueSize, half, tableLength, slots, sinks, window;  // window is 0 if slot p contains position p
    i64 queryRow, queryToken, queryHead, keyRow, keyToken, keyHead, valueRow, valueToken, valueHead;
    i64 keysRow, keysSlot, keysHead, valuesRow, valuesSlot, valuesHead, positionsRow;
};

template <class T, int V> __device__ __forceinline__ void append(const AppendArguments& args) {
    const i64 row = blockIdx.x / args.length, token = blockIdx.x % args.length, position = args.lengths[row] - args.length + token;
    const i64 slot = args.window == 0 || position < args.sinks ? position : args.sinks + (position - args.sinks) % args.window;
    const bool kept = position >= 0 && slot < args.slots;
    const i64 line = (position < 0 ? 0 : position < args.tableLength ? position : args.tableLength - 1) * args.half;
    const float *cosine = args.cosine + line, *sine = args.sine + line;
    const int steps = static_cast<int>(args.half / V), share = steps + static_cast<int>(args.size - 2 * args.half) / V,
        parts = static_cast<int>(args.valueSize / V);
    const int queries = args.query ? static_cast<int>(args.queryHeads) * share : 0, keys = queries + static_cast<int>(args.keyHeads) * share;
    for (int item = threadIdx.x; item < keys + args.keyHeads * parts; item += 256) {
        if (item < queries) {
            const int head = item / share;
            turn<T, V>(args.query, row * args.queryRow + token * args.queryToken + head * args.queryHead, args.turned,
                ((row * args.length + token) * args.queryHeads + head) * args.size,
                item % share, steps, args.half, cosine, sine, 1);
        } else if (!kept) continue;
        else if (item < keys) {
            const int head = (item - queries) / share;
            turn<T, V>(args.key, row * args.keyRow + token * args.keyToken + head * args.keyHead, args.keys, row * args.keysRow
                + slot * args.keysSlot + head * args.keysHead,
                (item - queries) % share, steps, args.half, cosine, sine, 1);
        } else {
            const int head = (item - keys) / parts, at = (item - keys) % parts * V;
            float part[V];
            load<T, V>(args.value, row * args.valueRow + token * args.valueToken + head * args.valueHead + at, part);
            store<T, V>(args.values, row * args.valuesRow + slot * args.valuesSlot + head * args.valuesHead + at, part);
        }
    }
    if (args.positions && kept && threadIdx.x == 0) args.positions[row * args.positionsRow + slot] = position;
}

KERNEL(append_float32_vector, 256, AppendArguments, append<float, 4>)
KERNEL(append_float32_single, 256, AppendArguments, append<float, 1>)
KERNEL(append_bfloat16_vector, 256, AppendArguments, append<bfloat16, 8>)
KERNEL(append_bfloat16_single, 256, AppendArguments, append<bfloat16, 1>)
