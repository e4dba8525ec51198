// What the kernels of the causal convolution share: their arguments, how inputs and the filter are read, and the sum at a token.
#pragma once
#include "common.cuh"

struct ConvolutionArguments {
    // initial, finalGradient (batch, width - 1, channels); gradient, dX (batch, length, channels)
    const void *x, *initial, *gradient, *finalGradient;
    Typed weight, bias;  // (channels, width), (channels); of one type, at addresses that are multiples of 16
    const bool* starts;                                       // (batch, length), or null
    // (batch) each, or null; slots, in a step: the slot of the state of a row, or -1 for a padding row
    const i64 *lengths, *slots;
    void *output, *final, *dX, *dInitial;
    float *dWeight, *dBias;  // (parts, channels, width), (parts, channels): sums of one tile, or of one block
    i64 batch, length, channels, width, tile, tiles, xRow, xToken, gradientRow, gradientToken, dXRow, dXToken, groups, slotCount;
    void* before;  // in steps of several tokens: (batch, width - 1, channels), or null
    const i64* counts;  // (batch): the tokens of a row whose states are wanted, or null
    int silu;
};

__device__ __forceinline__ i64 row_length(const ConvolutionArguments& args, i64 row) {
    i64 length = args.length;
    if (args.lengths && args.lengths[row] < length) length = args.lengths[row];
    return length;
}

// Loads the input `at` tokens from column 0; from the initial state if `at` is negative.
template <class T, int V> __device__ __forceinline__ void input(const ConvolutionArguments& args, i64 row, i64 at, i64 channel, float (&value)[V]) {
    if (at >= 0) load<T, V>(args.x, row * args.xRow + at * args.xToken + channel, value);
    else if (args.initial && args.width - 1 + at >= 0)
        load<T, V>(args.initial, (row * (args.width - 1) + args.width - 1 + at) * args.channels + channel, value);
    else
#pragma unroll
        for (int i = 0; i < V; i++) value[i] = 0;
}

template <int V> __device__ __forceinline__ void clear(float (&values)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) values[i] = 0;
}

// past[k] is the input Taps - 1 - k tokens before `first`. past[Taps - 1] is read by the loop over tokens.
template <class T, int V, int Taps> __device__ __forceinline__ void load_past(
    const ConvolutionArguments& args, i64 row, i64 firstToken, i64 channel, float (&past)[Taps][V]) {
    bool same = true;  // still in the document of `first`
#pragma unroll
    for (int back = 1; back < Taps; back++) {
        const i64 after = firstToken - back + 1;
        if (args.starts && after >= 0 && after < args.length && args.starts[row * args.length + after]) same = false;
        if (same && back < args.width) input<T, V>(args, row, firstToken - back, channel, past[Taps - 1 - back]);
        else clear(past[Taps - 1 - back]);
    }
}

template <int V, int Taps> __device__ __forceinline__ void load_filter(
    const ConvolutionArguments& args, i64 channel, float (&filter)[Taps][V], float (&bias)[V]) {
#pragma unroll
    for (int k = 0; k < Taps; k++)
#pragma unroll
        for (int i = 0; i < V; i++) {
            const i64 tap = k - (Taps - args.width);
            filter[k][i] = tap >= 0 ? args.weight[(channel + i) * args.width + tap] : 0;
        }
#pragma unroll
    for (int i = 0; i < V; i++) bias[i] = args.bias.base ? args.bias[channel + i] : 0;
}

// Returns the sum of the filter at the last token of `past`, which then moves by one token.
template <int V, int Taps> __device__ __forceinline__ void next_sum(
    const float (&filter)[Taps][V], const float (&bias)[V], bool silu, float (&past)[Taps][V], float (&sum)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) {
        sum[i] = bias[i];
#pragma unroll
        for (int k = 0; k < Taps; k++) sum[i] += filter[k][i] * past[k][i];
        if (silu) sum[i] *= sigmoid(sum[i]);
#pragma unroll
        for (int k = 0; k < Taps - 1; k++) past[k][i] = past[k + 1][i];
    }
}

// Writes the last width - 1 inputs of the last document of the row.
template <class T, int V> __device__ __forceinline__ void write_final(const ConvolutionArguments& args, i64 row, i64 channel) {
    const i64 valid = row_length(args, row);
    bool same = true;
    for (i64 back = 1; back < args.width; back++) {              // token valid - back
        const i64 after = valid - back + 1;
        if (args.starts && after >= 1 && after < valid && args.starts[row * args.length + after]) same = false;
        float value[V];
        clear(value);
        if (same) input<T, V>(args, row, valid - back, channel, value);
        store<T, V>(args.final, (row * (args.width - 1) + args.width - 1 - back) * args.channels + channel, value);
    }
}
