// The depthwise causal convolution along the sequence: forward, backward, the last inputs, and one step.
//
// In general, a thread processes V neighbouring channels (8 bytes, 16 for float32, or one) of one row, and a tile of tokens with the last Taps inputs
// in registers, so that an input is read once (and the Taps - 1 before a tile once more). Taps is 4 or 8; a shorter filter is padded with zeros on
// the side of the past. At the start of a document, the registers are set to zero. Backward repeats the walk and computes the sum under the SiLU
// again. The gradient of an input is complete Taps - 1 tokens later, so a tile continues that far into the next one. The sums of a tile for the
// filter are written once and added up over tiles in a fixed order (PartialSums.cu).
//
// Full rows of one document with a filter of 4 taps have separate kernels ("plain") with many short blocks. The tokens that two tiles share are then
// read at about the same time, the second time from a cache, and no block remains alone at the end. Forward, a thread has 10 tokens, all loaded
// before the first is used. Backward, a block has 8 warps of 24 tokens each. Inputs and gradients are in a ring in shared memory with 4 stages of 4
// tokens (16 KiB per stage, 76 KiB in total, two blocks per multiprocessor). Sums and the filter are in registers (at most 128), and the sums of the
// block for the filter are written as one.
//
// Forward moves 2 elements per position, backward 3, and 20 bytes per channel for each 192 tokens; 2 Taps and 6 Taps operations. Limits on one H100
// for 8 x 8192 x 4096 in bfloat16, at the rate of a copy: 0.360 ms forward (measured: 0.359 ms), 0.540 ms backward (0.546 ms, and 0.007 ms for the
// sum). On one H200: 0.256 ms (0.270 ms) and 0.383 ms (0.445 ms).
#include "common.cuh"

// The tokens that the general forward kernel loads before it uses the first, if a row has one document.
#ifndef CONVOLUTION_AHEAD
#define CONVOLUTION_AHEAD 4
#endif
#ifndef CONVOLUTION_TOKENS  // per thread of the plain forward kernel; the host has the same number
#define CONVOLUTION_TOKENS 10
#endif
// The stages in shared memory of the plain backward kernel, at 8 bytes per thread; the host has the same number.
#ifndef CONVOLUTION_STAGES
#define CONVOLUTION_STAGES 4
#endif
#ifndef CONVOLUTION_VECTOR  // channels of a thread in bfloat16; the host has the same number
#define CONVOLUTION_VECTOR 4
#endif

struct ConvolutionArguments {
    // initial, finalGradient (batch, width - 1, channels); gradient (batch, length, channels)
    const void *x, *initial, *gradient, *finalGradient;
    Typed weight, bias;  // (channels, width), (channels); of one type, at addresses that are multiples of 16
    const bool* starts;                                       // (batch, length), or null
    // (batch) each, or null; slots, in a single step: the slot of the state of a row, or -1 for a padding row
    const i64 *lengths, *slots;
    void *output, *final, *dX, *dInitial;
    float *dWeight, *dBias;  // (parts, channels, width), (parts, channels): sums of one tile, or of one block
    i64 batch, length, channels, width, tile, tiles, xRow, xToken, gradientRow, gradientToken, groups, slotCount;
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
    else if (args.initial && args.width - 1 + at >= 0) load<T,
        V>(args.initial, (row * (args.width - 1) + args.width - 1 + at) * args.channels + channel, value);
    else
#pragma unroll
        for (int i = 0; i < V; i++) value[i] = 0;
}

template <int V> __device__ __forceinline__ void clear(float (&values)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) values[i] = 0;
}

// past[k] is the input Taps - 1 - k tokens before `first`. past[Taps - 1] is left to the walk.
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

template <class T, int V, int Taps> __device__ __forceinline__ void convolution_forward(const ConvolutionArguments& args) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= args.batch * args.tiles * args.groups) return;
    const i64 channel = item % args.groups * V, rowTile = item / args.groups, row = rowTile / args.tiles,
        firstToken = rowTile % args.tiles * args.tile;
    const i64 end = firstToken + args.tile < args.length ? firstToken + args.tile : args.length, valid = row_length(args, row);
    float filter[Taps][V], bias[V], past[Taps][V];
    load_filter<V, Taps>(args, channel, filter, bias);
    load_past<T, V, Taps>(args, row, firstToken, channel, past);
    i64 t = firstToken;
    if (!args.starts && args.width == Taps) {
        constexpr int Ahead = CONVOLUTION_AHEAD;
        const i64 whole = (valid < end ? valid : end) - Ahead;
        const T* from = static_cast<const T*>(args.x) + row * args.xRow + channel;
        T* to = static_cast<T*>(args.output) + row * args.length * args.channels + channel;
        for (; t <= whole; t += Ahead) {
            Raw<T, V> raw[Ahead];
#pragma unroll
            for (int u = 0; u < Ahead; u++) raw[u] = load_raw<T, V>(from, (t + u) * args.xToken);
#pragma unroll
            for (int u = 0; u < Ahead; u++) {
                float sum[V];
                unpack<T, V>(raw[u], past[Taps - 1]);
                next_sum(filter, bias, args.silu, past, sum);
                store<T, V>(to, (t + u) * args.channels, sum);
            }
        }
    }
    for (; t < end; t++) {
        float sum[V];
        if (t < valid) {
            load<T, V>(args.x, row * args.xRow + t * args.xToken + channel, past[Taps - 1]);
            if (args.starts && args.starts[row * args.length + t])
#pragma unroll
                for (int k = 0; k < Taps - 1; k++) clear(past[k]);
            next_sum(filter, bias, args.silu, past, sum);
        } else clear(sum);
        store<T, V>(args.output, (row * args.length + t) * args.channels + channel, sum);
    }
}

template <class T, int V, int Taps> __device__ __forceinline__ void convolution_backward(const ConvolutionArguments& args) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= args.batch * args.tiles * args.groups) return;
    const i64 channel = item % args.groups * V, rowTile = item / args.groups, row = rowTile / args.tiles,
        firstToken = rowTile % args.tiles * args.tile,
        valid = row_length(args, row);
    const i64 end = firstToken + args.tile < args.length ? firstToken + args.tile : args.length;
    // pending[k]: the gradient of the input Taps - 1 - k tokens back.
    float filter[Taps][V], bias[V], past[Taps][V], pending[Taps][V], dFilter[Taps][V], dBias[V];
    load_filter<V, Taps>(args, channel, filter, bias);
    load_past<T, V, Taps>(args, row, firstToken, channel, past);
    clear(dBias);
#pragma unroll
    for (int k = 0; k < Taps; k++) { clear(pending[k]); clear(dFilter[k]); }

    // `lastStart`: a final gradient reaches only inputs of the last document of the row.
    i64 lastStart = -args.width;
    if (args.starts && args.finalGradient)
        for (i64 t = valid - args.width + 2 > 1 ? valid - args.width + 2 : 1; t < valid; t++)
            if (args.starts[row * args.length + t]) lastStart = t;

    // The tokens whose gradient is written: [firstToken, end), and before column 0 those of the initial state.
    const i64 stop = end + args.width - 1;
    for (i64 t = firstToken; t < stop; t++) {
        if (t < valid) {
            float dSum[V], gradient[V];
            load<T, V>(args.x, row * args.xRow + t * args.xToken + channel, past[Taps - 1]);
            load<T, V>(args.gradient, row * args.gradientRow + t * args.gradientToken + channel, gradient);
            const bool start = args.starts && args.starts[row * args.length + t];
            if (start)
#pragma unroll
                for (int k = 0; k < Taps - 1; k++) clear(past[k]);
#pragma unroll
            for (int i = 0; i < V; i++) {
                dSum[i] = gradient[i];
                if (args.silu) {
                    float sum = bias[i];
#pragma unroll
                    for (int k = 0; k < Taps; k++) sum += filter[k][i] * past[k][i];
                    dSum[i] *= silu_slope(sum, sigmoid(sum));
                }
                if (t < end) {
                    dBias[i] += dSum[i];
#pragma unroll
                    for (int k = 0; k < Taps; k++) dFilter[k][i] += dSum[i] * past[k][i];
                }
            }
            // The past inputs in the document of this token are those whose register was not cleared.
            bool same = true;
#pragma unroll
            for (int k = Taps - 1; k >= 0; k--) {
                if (k < Taps - 1) {
                    const i64 after = t - (Taps - 2 - k);  // a document start here separates token t - (Taps - 1 - k)
                    if (args.starts && after >= 0 && args.starts[row * args.length + after]) same = false;
                }
                if (same)
#pragma unroll
                    for (int i = 0; i < V; i++) pending[k][i] += filter[k][i] * dSum[i];
            }
#pragma unroll
            for (int k = 0; k < Taps - 1; k++)
#pragma unroll
                for (int i = 0; i < V; i++) past[k][i] = past[k + 1][i];
        }
        // pending[Taps - width] is the gradient of token t - (width - 1), and is complete.
        const i64 done = t - (args.width - 1);
        float result[V];
        clear(result);
#pragma unroll
        for (int k = 0; k < Taps; k++)
            if (k == Taps - args.width)
#pragma unroll
                for (int i = 0; i < V; i++) result[i] = pending[k][i];
        if (args.finalGradient && done < valid && done >= valid - (args.width - 1) && done >= lastStart && done >= 1 - args.width) {
            float other[V];
            load<T, V>(args.finalGradient, (row * (args.width - 1) + done - valid + args.width - 1) * args.channels + channel, other);
#pragma unroll
            for (int i = 0; i < V; i++) result[i] += other[i];
        }
        if (done >= firstToken && done < end) store<T, V>(args.dX, (row * args.length + done) * args.channels + channel, result);
        else if (done < 0 && firstToken == 0 && args.dInitial)
            store<T, V>(args.dInitial, (row * (args.width - 1) + done + args.width - 1) * args.channels + channel, result);
#pragma unroll
        for (int k = 0; k < Taps - 1; k++)
#pragma unroll
            for (int i = 0; i < V; i++) pending[k][i] = pending[k + 1][i];
        clear(pending[Taps - 1]);
#pragma unroll
        for (int k = 0; k < Taps; k++)
            if (k < Taps - args.width) clear(pending[k]);
    }
#pragma unroll
    for (int i = 0; i < V; i++) {
        const i64 at = rowTile * args.channels + channel + i;
#pragma unroll
        for (int k = 0; k < Taps; k++) {
            const i64 tap = k - (Taps - args.width);
            if (tap >= 0) args.dWeight[at * args.width + tap] = dFilter[k][i];
        }
        args.dBias[at] = dBias[i];
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

template <class T, int V> __device__ __forceinline__ void convolution_final(const ConvolutionArguments& args) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item < args.batch * args.groups) write_final<T, V>(args, item / args.groups, item % args.groups * V);
}

// ---- full rows of one document and a filter of 4 taps: the usual case in training ----

constexpr int plainTaps = 4;

template <class T, int V> __device__ __forceinline__ Raw<T, V> zeros() {
    const float values[V] = {};
    return pack<T, V>(values);
}

// Everything is loaded before anything is used, so that the latencies overlap. W: the type of weight and bias.
template <class W, int V> __device__ __forceinline__ void plain_filter_of(
    const ConvolutionArguments& args, i64 channel, float (&filter)[plainTaps][V], float (&bias)[V]) {
    constexpr int Taps = plainTaps;
    Raw<W, Taps> taps[V];
    W biases[V];
    const W* from = static_cast<const W*>(args.bias.base ? args.bias.base : args.weight.base) + channel;
#pragma unroll
    for (int i = 0; i < V; i++) taps[i] = load_raw<W, Taps>(args.weight.base, (channel + i) * Taps);
#pragma unroll
    for (int i = 0; i < V; i++) biases[i] = from[i];
#pragma unroll
    for (int i = 0; i < V; i++) {
        bias[i] = args.bias.base ? to_float(biases[i]) : 0;
#pragma unroll
        for (int k = 0; k < Taps; k++) filter[k][i] = taps[i][k];
    }
}

template <int V> __device__ __forceinline__ void plain_filter(
    const ConvolutionArguments& args, i64 channel, float (&filter)[plainTaps][V], float (&bias)[V]) {
    if (args.weight.bfloat16) plain_filter_of<bfloat16, V>(args, channel, filter, bias); else plain_filter_of<float, V>(args, channel, filter, bias);
}

// Processes the tokens of one thread. Whole: all tokens exist, and the tokens before them, so that no condition is needed; their sums and functions
// then overlap.
template <class T, int V, bool Silu,
    bool Whole> __device__ __forceinline__ void plain_tokens(const ConvolutionArguments& args, i64 row, i64 firstToken, int tokenCount, i64 channel) {
    constexpr int Taps = plainTaps, Tokens = CONVOLUTION_TOKENS;
    const T* from = static_cast<const T*>(args.x) + row * args.xRow + (firstToken - (Taps - 1)) * args.xToken + channel;
    T* to = static_cast<T*>(args.output) + (row * args.length + firstToken) * args.channels + channel;
    Raw<T, V> before[Taps - 1], xs[Tokens];
#pragma unroll
    for (int k = 0; k < Taps - 1; k++) {
        before[k] = Whole || firstToken ? load_raw<T, V>(from, 0)
            : args.initial ? load_raw<T, V>(args.initial, (row * (Taps - 1) + k) * args.channels + channel) : zeros<T, V>();
        from += args.xToken;
    }
#pragma unroll
    for (int u = 0; u < Tokens; u++) {
        xs[u] = Whole || u < tokenCount ? load_raw<T, V>(from, 0) : zeros<T, V>();
        from += args.xToken;
    }
    float filter[Taps][V], bias[V], past[Taps][V];
    plain_filter<V>(args, channel, filter, bias);
#pragma unroll
    for (int k = 0; k < Taps - 1; k++) unpack<T, V>(before[k], past[k]);
#pragma unroll
    for (int u = 0; u < Tokens; u++) {
        float sum[V];
        unpack<T, V>(xs[u], past[Taps - 1]);
        next_sum(filter, bias, Silu, past, sum);
        if (Whole || u < tokenCount) store<T, V>(to, 0, sum);
        to += args.channels;
    }
}

// A thread loads all its tokens before it uses the first. Blocks are many and short, and the tokens that two tiles read are read at about the same
// time.
template <class T, int V, bool Silu> __device__ __forceinline__ void plain_forward(const ConvolutionArguments& args) {
    constexpr int Tokens = CONVOLUTION_TOKENS;
    // 32 bits: 64-bit divisions would cost as much as everything else here.
    const unsigned item = blockIdx.x * 128 + threadIdx.x, groups = static_cast<unsigned>(args.groups), tiles = static_cast<unsigned>(args.tiles);
    const unsigned rowTile = item / groups, row = rowTile / tiles;
    if (row >= args.batch) return;
    const i64 channel = static_cast<i64>(item - rowTile * groups) * V, firstToken = static_cast<i64>(rowTile - row * tiles) * Tokens;
    const int tokenCount = static_cast<int>(args.length - firstToken < Tokens ? args.length - firstToken : Tokens);
    if (firstToken && tokenCount == Tokens) plain_tokens<T, V, Silu, true>(args, row, firstToken, tokenCount, channel);
    else plain_tokens<T, V, Silu, false>(args, row, firstToken, tokenCount, channel);
    if (firstToken + Tokens >= args.length) write_final<T, V>(args, row, channel);
}

template <class T, int V> __device__ __forceinline__ void convolution_forward_plain(const ConvolutionArguments& args) {
    if (args.silu) plain_forward<T, V, true>(args); else plain_forward<T, V, false>(args);
}

// Moves by one token: the gradient of the input Taps - 1 tokens back is complete. Own: whether the token is in the tile, not after it.
template <class T, int V, bool Silu, bool Own> __device__ __forceinline__ void advance(const Raw<T, V>& x, const Raw<T, V>& gradient,
    const float (&filter)[plainTaps][V], const float (&bias)[V],
    float (&past)[plainTaps][V], float (&pending)[plainTaps - 1][V], float (&dFilter)[plainTaps][V], float (&dBias)[V], float (&result)[V]) {
    constexpr int Taps = plainTaps;
#pragma unroll
    for (int i = 0; i < V; i++) {
        past[Taps - 1][i] = x[i];
        float dSum = gradient[i];
        if (Silu) {
            float sum = bias[i];
#pragma unroll
            for (int k = 0; k < Taps; k++) sum += filter[k][i] * past[k][i];
            dSum *= silu_slope(sum, sigmoid(sum));
        }
        if (Own) {
            dBias[i] += dSum;
#pragma unroll
            for (int k = 0; k < Taps; k++) dFilter[k][i] += dSum * past[k][i];
        }
        result[i] = pending[0][i] + filter[0][i] * dSum;
#pragma unroll
        for (int k = 0; k < Taps - 2; k++) pending[k][i] = pending[k + 1][i] + filter[k + 1][i] * dSum;
        pending[Taps - 2][i] = filter[Taps - 1][i] * dSum;
#pragma unroll
        for (int k = 0; k < Taps - 1; k++) past[k][i] = past[k + 1][i];
    }
}

// Elements that are too narrow for an asynchronous copy are copied at once.
template <int Bytes> __device__ __forceinline__ void bring(char* shared, const void* global, bool there) {
    if constexpr (Bytes >= 4) copy_async<Bytes>(shared, global, there);
    else *reinterpret_cast<unsigned short*>(shared) = there ? *static_cast<const unsigned short*>(global) : 0;
}

// A warp processes 32 V channels and a tile. The warps of a block process consecutive tiles and add up their sums for the filter. Each thread copies
// its own inputs and gradients to shared memory, 4 tokens per stage, and reads only these, so no thread waits for another. The tokens after the tile,
// with which the next warp begins, are copied first: at the end of the tile they would no longer be in the caches.
template <class T, int V, bool Silu> __device__ __forceinline__ void plain_backward(const ConvolutionArguments& args) {
    constexpr int Taps = plainTaps, Warps = 8, U = 4, Bytes = V * static_cast<int>(sizeof(T)), Stages = Bytes > 8 ? 2 : CONVOLUTION_STAGES;
    constexpr int Line = Warps * 32 * Bytes, Stage = 2 * U * Line;
    DYNAMIC_SHARED(char, shared);  // stages, then the tokens after the tile; at the end, sums of warps
    const unsigned slabs = static_cast<unsigned>((args.groups + 31) / 32), tiles = static_cast<unsigned>(args.tiles), rowTile = blockIdx.x / slabs,
        row = rowTile / tiles;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tile = static_cast<int>(args.tile);
    const i64 channel = (static_cast<i64>(blockIdx.x - rowTile * slabs) * 32 + lane) * V,
        firstToken = (static_cast<i64>(rowTile - row * tiles) * Warps + warp) * tile;
    const int rest = static_cast<int>(args.length - firstToken < tile + Taps ? args.length - firstToken : tile + Taps);
    float filter[Taps][V], bias[V], dFilter[Taps][V], dBias[V];
    clear(dBias);
#pragma unroll
    for (int k = 0; k < Taps; k++) clear(dFilter[k]);
    if (channel < args.channels && rest > 0) {
        const T* x = static_cast<const T*>(args.x) + row * args.xRow + firstToken * args.xToken + channel;
        const T* gradient = static_cast<const T*>(args.gradient) + row * args.gradientRow + firstToken * args.gradientToken + channel;
        T* dX = static_cast<T*>(args.dX) + (row * args.length + firstToken - (Taps - 1)) * args.channels + channel;
        char *mine = shared + threadIdx.x * Bytes, *after = mine + Stages * Stage;
        float past[Taps][V], pending[Taps - 1][V], result[V];
        Raw<T, V> before[Taps - 1];
        auto raw = [](const char* at) { return *reinterpret_cast<const Raw<T, V>*>(at); };
        auto ask = [&](int step) {  // zeros after the end of the row have no effect
            char* to = mine + step % Stages * Stage;
            if (U * step + U <= rest) {
#pragma unroll
                for (int u = 0; u < U; u++) {
                    bring<Bytes>(to + u * Line, x + u * args.xToken, true);
                    bring<Bytes>(to + (U + u) * Line, gradient + u * args.gradientToken, true);
                }
            } else
#pragma unroll
                for (int u = 0; u < U; u++) {
                    const bool there = U * step + u < rest;
                    bring<Bytes>(to + u * Line, there ? x + u * args.xToken : args.x, there);
                    bring<Bytes>(to + (U + u) * Line, there ? gradient + u * args.gradientToken : args.gradient, there);
                }
            x += U * args.xToken;
            gradient += U * args.gradientToken;
        };
        const int steps = tile / U;
#pragma unroll
        for (int k = 0; k < Taps - 1; k++) before[k] = firstToken ? load_raw<T, V>(x, (k - (Taps - 1)) * args.xToken) : zeros<T, V>();
#pragma unroll
        for (int u = 0; u < Taps - 1; u++) {
            const bool there = tile + u < rest;
            bring<Bytes>(after + u * Line, there ? x + (tile + u) * args.xToken : args.x, there);
            bring<Bytes>(after + (Taps - 1 + u) * Line, there ? gradient + (tile + u) * args.gradientToken : args.gradient, there);
        }
#pragma unroll
        for (int step = 0; step < Stages - 1; step++) {
            if (step < steps) ask(step);
            copy_commit();
        }
        plain_filter<V>(args, channel, filter, bias);
#pragma unroll
        for (int k = 0; k < Taps - 1; k++) { unpack<T, V>(before[k], past[k]); clear(pending[k]); }
#pragma unroll 1
        for (int step = 0; step < steps; step++) {
            copy_wait<Stages - 2>();
            if (step + Stages - 1 < steps) ask(step + Stages - 1);
            copy_commit();
            const char* from = mine + step % Stages * Stage;
            const int left = rest - (U * step - (Taps - 1));
#pragma unroll
            for (int u = 0; u < U; u++) {
                advance<T, V, Silu, true>(raw(from + u * Line), raw(from + (U + u) * Line), filter, bias, past, pending, dFilter, dBias, result);
                if ((step || u >= Taps - 1) && u < left) store_stream<T, V>(dX, u * args.channels, result);
            }
            dX += U * args.channels;
        }
        copy_wait<0>();
#pragma unroll
        for (int u = 0; u < Taps - 1; u++) {
            advance<T, V, Silu, false>(raw(after + u * Line), raw(after + (Taps - 1 + u) * Line), filter, bias, past, pending, dFilter, dBias,
                result);
            if (tile - (Taps - 1) + u < rest) store_stream<T, V>(dX, u * args.channels, result);
        }
    }
    float* sums = reinterpret_cast<float*>(shared) + lane;
    __syncthreads();
    if (warp)
#pragma unroll
        for (int i = 0; i < V; i++) {
            float* to = sums + ((warp - 1) * V + i) * (Taps + 1) * 32;
#pragma unroll
            for (int k = 0; k < Taps; k++) to[k * 32] = dFilter[k][i];
            to[Taps * 32] = dBias[i];
        }
    __syncthreads();
    if (warp || channel >= args.channels) return;
    for (int other = 0; other < Warps - 1; other++)
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float* from = sums + (other * V + i) * (Taps + 1) * 32;
#pragma unroll
            for (int k = 0; k < Taps; k++) dFilter[k][i] += from[k * 32];
            dBias[i] += from[Taps * 32];
        }
    const i64 at = rowTile * args.channels + channel;
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float taps[Taps] = {dFilter[0][i], dFilter[1][i], dFilter[2][i], dFilter[3][i]};
        store<float, Taps>(args.dWeight, (at + i) * Taps, taps);
    }
    store<float, V>(args.dBias, at, dBias);
}

template <class T, int V> __device__ __forceinline__ void convolution_backward_plain(const ConvolutionArguments& args) {
    if (args.silu) plain_backward<T, V, true>(args); else plain_backward<T, V, false>(args);
}

// Processes one token for every row: the sum is computed and the state, which `final` and `initial` both are, moves by one.
template <class T, int V, int Taps> __device__ __forceinline__ void convolution_step(const ConvolutionArguments& args) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= args.batch * args.groups) return;
    const i64 channel = item % args.groups * V, row = item / args.groups;
    float filter[Taps][V], sum[V], past[Taps][V];
    const i64 slot = args.slots ? args.slots[row] : row;
    if (slot < 0 || slot >= args.slotCount) {
        clear(sum);
        store<T, V>(args.output, row * args.channels + channel, sum);
        return;
    }
    load_filter<V, Taps>(args, channel, filter, sum);
    load_past<T, V, Taps>(args, slot, 0, channel, past);
    load<T, V>(args.x, row * args.xRow + channel, past[Taps - 1]);
#pragma unroll
    for (int i = 0; i < V; i++) {
#pragma unroll
        for (int k = 0; k < Taps; k++) sum[i] += filter[k][i] * past[k][i];
        if (args.silu) sum[i] *= sigmoid(sum[i]);
    }
    store<T, V>(args.output, row * args.channels + channel, sum);
#pragma unroll
    for (int k = 1; k < Taps; k++) {
        const i64 at = k - (Taps - args.width) - 1;
        if (at >= 0) store<T, V>(args.final, (slot * (args.width - 1) + at) * args.channels + channel, past[k]);
    }
}

#define CONVOLUTION(type, T, V, size) \
    KERNEL(convolution_forward_4_##type##_##size, 128, ConvolutionArguments, convolution_forward<T, V, 4>) \
    KERNEL(convolution_forward_8_##type##_##size, 128, ConvolutionArguments, convolution_forward<T, V, 8>) \
    KERNEL_OF(convolution_forward_plain_##type##_##size, 128, sizeof(T) > 2 ? 5 : 6, ConvolutionArguments, convolution_forward_plain<T, V>) \
    KERNEL_OF(convolution_backward_plain_##type##_##size, 256, 2, ConvolutionArguments, convolution_backward_plain<T, V>) \
    KERNEL(convolution_backward_4_##type##_##size, 128, ConvolutionArguments, convolution_backward<T, V, 4>) \
    KERNEL(convolution_backward_8_##type##_##size, 128, ConvolutionArguments, convolution_backward<T, V, 8>) \
    KERNEL(convolution_step_4_##type##_##size, 128, ConvolutionArguments, convolution_step<T, V, 4>) \
    KERNEL(convolution_step_8_##type##_##size, 128, ConvolutionArguments, convolution_step<T, V, 8>) \
    KERNEL(convolution_final_##type##_##size, 128, ConvolutionArguments, convolution_final<T, V>)

CONVOLUTION(float32, float, 4, vector)
CONVOLUTION(float32, float, 1, single)
CONVOLUTION(bfloat16, bfloat16, CONVOLUTION_VECTOR, vector)
CONVOLUTION(bfloat16, bfloat16, 1, single)
