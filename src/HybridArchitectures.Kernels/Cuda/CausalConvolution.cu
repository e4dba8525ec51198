// The depthwise causal convolution along the sequence, forward, backward, last inputs, and one step.
//
// In general a thread takes V neighbouring channels (8 bytes, 16 of float32, or one) of one row and walks a tile of tokens with the last Taps inputs
// in registers, so that an input is read once (and the Taps - 1 before a tile once more). Taps is 4 or 8; a shorter filter is filled up with zeros on
// the side of the past. At a document's start the registers are set to zero. Backward: the walk is repeated, the sum under the SiLU made again; the
// gradient of an input is complete Taps - 1 tokens later, so a tile goes on that far into the next one. A tile's sums for the filter are written once
// and added up over tiles in a fixed order (PartialSums.cu).
//
// Full rows of one document with a filter of 4 taps have kernels of their own ("plain"), made of many short blocks: the tokens that two tiles share
// are then read at one time, the second time from a cache, and no block is left over in the end. Forward, a thread has 10 tokens, all on the way
// before the first is used. Backward, a block has 8 warps of 24 tokens each, inputs and gradients in a ring in shared memory of 4 stages of 4 tokens
// (16 KiB a stage, 76 KiB in all, two blocks a multiprocessor), what is added up and the filter in registers (at most 128), and the block's sums for
// the filter written as one. 2 elements a place forward, 3 backward, and 20 bytes a channel for each 192 tokens; 2 Taps and 6 Taps operations. Limits
// on one H100 at 8 x 8192 x 4096 bfloat16, by the rate of a copy: 0.360 ms forward (reached: 0.359), 0.540 ms backward (0.546, and 0.007 for the
// sum); on one H200 0.256 (0.270) and 0.383 (0.445).
#include "common.cuh"

// tokens that the general forward loads before it uses the first, where a row has one document
#ifndef CONVOLUTION_AHEAD
#define CONVOLUTION_AHEAD 4
#endif
#ifndef CONVOLUTION_TOKENS                                    // of a thread of the plain forward; the host has the same number
#define CONVOLUTION_TOKENS 10
#endif
// of the plain backward's shared memory, at 8 bytes a thread; the host has the same number
#ifndef CONVOLUTION_STAGES
#define CONVOLUTION_STAGES 4
#endif
#ifndef CONVOLUTION_VECTOR                                    // channels of a thread in bfloat16; the host has the same number
#define CONVOLUTION_VECTOR 4
#endif

struct ConvolutionArguments {
    // initial, finalGradient (batch, width - 1, channels); gradient (batch, length, channels)
    const void *x, *initial, *gradient, *finalGradient;
    Typed weight, bias;                                       // (channels, width), (channels); of one type, from addresses that 16 divides
    const bool* starts;                                       // (batch, length), or null
    // (batch) each, or null; slots, in a single step: where a row's state is, or -1 for a row that is padding
    const i64 *lengths, *slots;
    void *output, *final, *dX, *dInitial;
    float *dWeight, *dBias;                                   // (parts, channels, width), (parts, channels): sums of one tile, or of one block
    i64 batch, length, channels, width, tile, tiles, xRow, xToken, gradientRow, gradientToken, groups, slotCount;
    int silu;
};

__device__ __forceinline__ i64 row_length(const ConvolutionArguments& a, i64 row) {
    i64 length = a.length;
    if (a.lengths && a.lengths[row] < length) length = a.lengths[row];
    return length;
}

// the input `at` tokens from column 0, of the initial state where that is negative
template <class T, int V> __device__ __forceinline__ void input(const ConvolutionArguments& a, i64 row, i64 at, i64 channel, float (&value)[V]) {
    if (at >= 0) load<T, V>(a.x, row * a.xRow + at * a.xToken + channel, value);
    else if (a.initial && a.width - 1 + at >= 0) load<T, V>(a.initial, (row * (a.width - 1) + a.width - 1 + at) * a.channels + channel, value);
    else
#pragma unroll
        for (int i = 0; i < V; i++) value[i] = 0;
}

template <int V> __device__ __forceinline__ void clear(float (&values)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) values[i] = 0;
}

// past[k] is the input Taps - 1 - k tokens before `first`; past[Taps - 1] is left to the walk
template <class T, int V, int Taps> __device__ __forceinline__ void load_past(
    const ConvolutionArguments& a, i64 row, i64 first, i64 channel, float (&past)[Taps][V]) {
    bool same = true;                                         // still in the document of `first`
#pragma unroll
    for (int back = 1; back < Taps; back++) {
        const i64 after = first - back + 1;
        if (a.starts && after >= 0 && after < a.length && a.starts[row * a.length + after]) same = false;
        if (same && back < a.width) input<T, V>(a, row, first - back, channel, past[Taps - 1 - back]);
        else clear(past[Taps - 1 - back]);
    }
}

template <int V, int Taps> __device__ __forceinline__ void load_filter(
    const ConvolutionArguments& a, i64 channel, float (&filter)[Taps][V], float (&bias)[V]) {
#pragma unroll
    for (int k = 0; k < Taps; k++)
#pragma unroll
        for (int i = 0; i < V; i++) {
            const i64 tap = k - (Taps - a.width);
            filter[k][i] = tap >= 0 ? a.weight[(channel + i) * a.width + tap] : 0;
        }
#pragma unroll
    for (int i = 0; i < V; i++) bias[i] = a.bias.base ? a.bias[channel + i] : 0;
}

// the sum under the filter at the last of `past`, which then moves on by one token
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

template <class T, int V, int Taps> __device__ __forceinline__ void convolution_forward(const ConvolutionArguments& a) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= a.batch * a.tiles * a.groups) return;
    const i64 channel = item % a.groups * V, place = item / a.groups, row = place / a.tiles, first = place % a.tiles * a.tile;
    const i64 end = first + a.tile < a.length ? first + a.tile : a.length, valid = row_length(a, row);
    float filter[Taps][V], bias[V], past[Taps][V];
    load_filter<V, Taps>(a, channel, filter, bias);
    load_past<T, V, Taps>(a, row, first, channel, past);
    i64 t = first;
    if (!a.starts && a.width == Taps) {
        constexpr int Ahead = CONVOLUTION_AHEAD;
        const i64 whole = (valid < end ? valid : end) - Ahead;
        const T* from = static_cast<const T*>(a.x) + row * a.xRow + channel;
        T* to = static_cast<T*>(a.output) + row * a.length * a.channels + channel;
        for (; t <= whole; t += Ahead) {
            Raw<T, V> raw[Ahead];
#pragma unroll
            for (int u = 0; u < Ahead; u++) raw[u] = load_raw<T, V>(from, (t + u) * a.xToken);
#pragma unroll
            for (int u = 0; u < Ahead; u++) {
                float sum[V];
                unpack<T, V>(raw[u], past[Taps - 1]);
                next_sum(filter, bias, a.silu, past, sum);
                store<T, V>(to, (t + u) * a.channels, sum);
            }
        }
    }
    for (; t < end; t++) {
        float sum[V];
        if (t < valid) {
            load<T, V>(a.x, row * a.xRow + t * a.xToken + channel, past[Taps - 1]);
            if (a.starts && a.starts[row * a.length + t])
#pragma unroll
                for (int k = 0; k < Taps - 1; k++) clear(past[k]);
            next_sum(filter, bias, a.silu, past, sum);
        } else clear(sum);
        store<T, V>(a.output, (row * a.length + t) * a.channels + channel, sum);
    }
}

template <class T, int V, int Taps> __device__ __forceinline__ void convolution_backward(const ConvolutionArguments& a) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= a.batch * a.tiles * a.groups) return;
    const i64 channel = item % a.groups * V, place = item / a.groups, row = place / a.tiles, first = place % a.tiles * a.tile,
        valid = row_length(a, row);
    const i64 end = first + a.tile < a.length ? first + a.tile : a.length;
    // pending[k]: the gradient of the input Taps - 1 - k tokens back
    float filter[Taps][V], bias[V], past[Taps][V], pending[Taps][V], dFilter[Taps][V], dBias[V];
    load_filter<V, Taps>(a, channel, filter, bias);
    load_past<T, V, Taps>(a, row, first, channel, past);
    clear(dBias);
#pragma unroll
    for (int k = 0; k < Taps; k++) { clear(pending[k]); clear(dFilter[k]); }

    // `lastStart`: a final gradient reaches inputs of the row's last document alone
    i64 lastStart = -a.width;
    if (a.starts && a.finalGradient)
        for (i64 t = valid - a.width + 2 > 1 ? valid - a.width + 2 : 1; t < valid; t++)
            if (a.starts[row * a.length + t]) lastStart = t;

    // tokens whose gradient is written: [first, end), and before column 0 those of the initial state
    const i64 stop = end + a.width - 1;
    for (i64 t = first; t < stop; t++) {
        if (t < valid) {
            float dSum[V], gradient[V];
            load<T, V>(a.x, row * a.xRow + t * a.xToken + channel, past[Taps - 1]);
            load<T, V>(a.gradient, row * a.gradientRow + t * a.gradientToken + channel, gradient);
            const bool start = a.starts && a.starts[row * a.length + t];
            if (start)
#pragma unroll
                for (int k = 0; k < Taps - 1; k++) clear(past[k]);
#pragma unroll
            for (int i = 0; i < V; i++) {
                dSum[i] = gradient[i];
                if (a.silu) {
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
            // which of the past are in this token's document: those whose register was not cleared
            bool same = true;
#pragma unroll
            for (int k = Taps - 1; k >= 0; k--) {
                if (k < Taps - 1) {
                    const i64 after = t - (Taps - 2 - k);         // a start here cuts off token t - (Taps - 1 - k)
                    if (a.starts && after >= 0 && a.starts[row * a.length + after]) same = false;
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
        // pending[Taps - width] is the gradient of token t - (width - 1), and complete
        const i64 done = t - (a.width - 1);
        float result[V];
        clear(result);
#pragma unroll
        for (int k = 0; k < Taps; k++)
            if (k == Taps - a.width)
#pragma unroll
                for (int i = 0; i < V; i++) result[i] = pending[k][i];
        if (a.finalGradient && done < valid && done >= valid - (a.width - 1) && done >= lastStart && done >= 1 - a.width) {
            float other[V];
            load<T, V>(a.finalGradient, (row * (a.width - 1) + done - valid + a.width - 1) * a.channels + channel, other);
#pragma unroll
            for (int i = 0; i < V; i++) result[i] += other[i];
        }
        if (done >= first && done < end) store<T, V>(a.dX, (row * a.length + done) * a.channels + channel, result);
        else if (done < 0 && first == 0 && a.dInitial)
            store<T, V>(a.dInitial, (row * (a.width - 1) + done + a.width - 1) * a.channels + channel, result);
#pragma unroll
        for (int k = 0; k < Taps - 1; k++)
#pragma unroll
            for (int i = 0; i < V; i++) pending[k][i] = pending[k + 1][i];
        clear(pending[Taps - 1]);
#pragma unroll
        for (int k = 0; k < Taps; k++)
            if (k < Taps - a.width) clear(pending[k]);
    }
#pragma unroll
    for (int i = 0; i < V; i++) {
        const i64 at = place * a.channels + channel + i;
#pragma unroll
        for (int k = 0; k < Taps; k++) {
            const i64 tap = k - (Taps - a.width);
            if (tap >= 0) a.dWeight[at * a.width + tap] = dFilter[k][i];
        }
        a.dBias[at] = dBias[i];
    }
}

// the last width - 1 inputs of the row's last document
template <class T, int V> __device__ __forceinline__ void write_final(const ConvolutionArguments& a, i64 row, i64 channel) {
    const i64 valid = row_length(a, row);
    bool same = true;
    for (i64 back = 1; back < a.width; back++) {              // token valid - back
        const i64 after = valid - back + 1;
        if (a.starts && after >= 1 && after < valid && a.starts[row * a.length + after]) same = false;
        float value[V];
        clear(value);
        if (same) input<T, V>(a, row, valid - back, channel, value);
        store<T, V>(a.final, (row * (a.width - 1) + a.width - 1 - back) * a.channels + channel, value);
    }
}

template <class T, int V> __device__ __forceinline__ void convolution_final(const ConvolutionArguments& a) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item < a.batch * a.groups) write_final<T, V>(a, item / a.groups, item % a.groups * V);
}

// ---- full rows of one document, a filter of 4 taps: the usual case in training ----

constexpr int plainTaps = 4;

template <class T, int V> __device__ __forceinline__ Raw<T, V> zeros() {
    const float values[V] = {};
    return pack<T, V>(values);
}

// Everything is loaded before anything is used: one latency, not one after another. W: the type of both weight and bias
template <class W, int V> __device__ __forceinline__ void plain_filter_of(
    const ConvolutionArguments& a, i64 channel, float (&filter)[plainTaps][V], float (&bias)[V]) {
    constexpr int Taps = plainTaps;
    Raw<W, Taps> taps[V];
    W biases[V];
    const W* from = static_cast<const W*>(a.bias.base ? a.bias.base : a.weight.base) + channel;
#pragma unroll
    for (int i = 0; i < V; i++) taps[i] = load_raw<W, Taps>(a.weight.base, (channel + i) * Taps);
#pragma unroll
    for (int i = 0; i < V; i++) biases[i] = from[i];
#pragma unroll
    for (int i = 0; i < V; i++) {
        bias[i] = a.bias.base ? to_float(biases[i]) : 0;
#pragma unroll
        for (int k = 0; k < Taps; k++) filter[k][i] = taps[i][k];
    }
}

template <int V> __device__ __forceinline__ void plain_filter(
    const ConvolutionArguments& a, i64 channel, float (&filter)[plainTaps][V], float (&bias)[V]) {
    if (a.weight.bfloat16) plain_filter_of<bfloat16, V>(a, channel, filter, bias); else plain_filter_of<float, V>(a, channel, filter, bias);
}

// Tokens of one thread. Whole: all are there, and the tokens before them, so that no condition comes between; their sums and functions then fill each
// other's gaps.
template <class T, int V, bool Silu,
    bool Whole> __device__ __forceinline__ void plain_tokens(const ConvolutionArguments& a, i64 row, i64 first, int there, i64 channel) {
    constexpr int Taps = plainTaps, Tokens = CONVOLUTION_TOKENS;
    const T* from = static_cast<const T*>(a.x) + row * a.xRow + (first - (Taps - 1)) * a.xToken + channel;
    T* to = static_cast<T*>(a.output) + (row * a.length + first) * a.channels + channel;
    Raw<T, V> before[Taps - 1], xs[Tokens];
#pragma unroll
    for (int k = 0; k < Taps - 1; k++) {
        before[k] = Whole || first ? load_raw<T, V>(from, 0)
            : a.initial ? load_raw<T, V>(a.initial, (row * (Taps - 1) + k) * a.channels + channel) : zeros<T, V>();
        from += a.xToken;
    }
#pragma unroll
    for (int u = 0; u < Tokens; u++) {
        xs[u] = Whole || u < there ? load_raw<T, V>(from, 0) : zeros<T, V>();
        from += a.xToken;
    }
    float filter[Taps][V], bias[V], past[Taps][V];
    plain_filter<V>(a, channel, filter, bias);
#pragma unroll
    for (int k = 0; k < Taps - 1; k++) unpack<T, V>(before[k], past[k]);
#pragma unroll
    for (int u = 0; u < Tokens; u++) {
        float sum[V];
        unpack<T, V>(xs[u], past[Taps - 1]);
        next_sum(filter, bias, Silu, past, sum);
        if (Whole || u < there) store<T, V>(to, 0, sum);
        to += a.channels;
    }
}

// A thread has all its tokens on the way before it uses the first; blocks are many and short, and the tokens that two tiles read are read at one
// time.
template <class T, int V, bool Silu> __device__ __forceinline__ void plain_forward(const ConvolutionArguments& a) {
    constexpr int Tokens = CONVOLUTION_TOKENS;
    // in 32 bits: divisions of 64 cost as much as all else here
    const unsigned item = blockIdx.x * 128 + threadIdx.x, groups = static_cast<unsigned>(a.groups), tiles = static_cast<unsigned>(a.tiles);
    const unsigned place = item / groups, row = place / tiles;
    if (row >= a.batch) return;
    const i64 channel = static_cast<i64>(item - place * groups) * V, first = static_cast<i64>(place - row * tiles) * Tokens;
    const int there = static_cast<int>(a.length - first < Tokens ? a.length - first : Tokens);
    if (first && there == Tokens) plain_tokens<T, V, Silu, true>(a, row, first, there, channel);
    else plain_tokens<T, V, Silu, false>(a, row, first, there, channel);
    if (first + Tokens >= a.length) write_final<T, V>(a, row, channel);
}

template <class T, int V> __device__ __forceinline__ void convolution_forward_plain(const ConvolutionArguments& a) {
    if (a.silu) plain_forward<T, V, true>(a); else plain_forward<T, V, false>(a);
}

// one token further: the gradient of the input Taps - 1 tokens back is complete. Own: not a token after the tile, which its last inputs reach
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

// what an asynchronous copy is too wide for is copied at once
template <int Bytes> __device__ __forceinline__ void bring(char* shared, const void* global, bool there) {
    if constexpr (Bytes >= 4) copy_async<Bytes>(shared, global, there);
    else *reinterpret_cast<unsigned short*>(shared) = there ? *static_cast<const unsigned short*>(global) : 0;
}

// A warp takes 32 V channels and a tile, the warps of a block take tiles one after another and add up their sums for the filter. Each thread copies
// its own inputs and gradients to shared memory, 4 tokens a stage, and reads nobody else's: no thread waits for another. The tokens after the tile,
// which the next warp begins with, are copied first: at the tile's end they would no longer be in the caches.
template <class T, int V, bool Silu> __device__ __forceinline__ void plain_backward(const ConvolutionArguments& a) {
    constexpr int Taps = plainTaps, Warps = 8, U = 4, Bytes = V * static_cast<int>(sizeof(T)), Stages = Bytes > 8 ? 2 : CONVOLUTION_STAGES;
    constexpr int Line = Warps * 32 * Bytes, Stage = 2 * U * Line;
    DYNAMIC_SHARED(char, shared);                             // stages, then the tokens after the tile; in the end sums of warps
    const unsigned slabs = static_cast<unsigned>((a.groups + 31) / 32), tiles = static_cast<unsigned>(a.tiles), place = blockIdx.x / slabs,
    row = place / tiles;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tile = static_cast<int>(a.tile);
    const i64 channel = (static_cast<i64>(blockIdx.x - place * slabs) * 32 + lane) * V,
        first = (static_cast<i64>(place - row * tiles) * Warps + warp) * tile;
    const int rest = static_cast<int>(a.length - first < tile + Taps ? a.length - first : tile + Taps);
    float filter[Taps][V], bias[V], dFilter[Taps][V], dBias[V];
    clear(dBias);
#pragma unroll
    for (int k = 0; k < Taps; k++) clear(dFilter[k]);
    if (channel < a.channels && rest > 0) {
        const T* x = static_cast<const T*>(a.x) + row * a.xRow + first * a.xToken + channel;
        const T* gradient = static_cast<const T*>(a.gradient) + row * a.gradientRow + first * a.gradientToken + channel;
        T* dX = static_cast<T*>(a.dX) + (row * a.length + first - (Taps - 1)) * a.channels + channel;
        char *mine = shared + threadIdx.x * Bytes, *after = mine + Stages * Stage;
        float past[Taps][V], pending[Taps - 1][V], result[V];
        Raw<T, V> before[Taps - 1];
        auto raw = [](const char* at) { return *reinterpret_cast<const Raw<T, V>*>(at); };
        auto ask = [&](int step) {                            // zeros behind the row's end change nothing
            char* to = mine + step % Stages * Stage;
            if (U * step + U <= rest) {
#pragma unroll
                for (int u = 0; u < U; u++) {
                    bring<Bytes>(to + u * Line, x + u * a.xToken, true);
                    bring<Bytes>(to + (U + u) * Line, gradient + u * a.gradientToken, true);
                }
            } else
#pragma unroll
                for (int u = 0; u < U; u++) {
                    const bool there = U * step + u < rest;
                    bring<Bytes>(to + u * Line, there ? x + u * a.xToken : a.x, there);
                    bring<Bytes>(to + (U + u) * Line, there ? gradient + u * a.gradientToken : a.gradient, there);
                }
            x += U * a.xToken;
            gradient += U * a.gradientToken;
        };
        const int steps = tile / U;
#pragma unroll
        for (int k = 0; k < Taps - 1; k++) before[k] = first ? load_raw<T, V>(x, (k - (Taps - 1)) * a.xToken) : zeros<T, V>();
#pragma unroll
        for (int u = 0; u < Taps - 1; u++) {
            const bool there = tile + u < rest;
            bring<Bytes>(after + u * Line, there ? x + (tile + u) * a.xToken : a.x, there);
            bring<Bytes>(after + (Taps - 1 + u) * Line, there ? gradient + (tile + u) * a.gradientToken : a.gradient, there);
        }
#pragma unroll
        for (int step = 0; step < Stages - 1; step++) {
            if (step < steps) ask(step);
            copy_commit();
        }
        plain_filter<V>(a, channel, filter, bias);
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
                if ((step || u >= Taps - 1) && u < left) store_stream<T, V>(dX, u * a.channels, result);
            }
            dX += U * a.channels;
        }
        copy_wait<0>();
#pragma unroll
        for (int u = 0; u < Taps - 1; u++) {
            advance<T, V, Silu, false>(raw(after + u * Line), raw(after + (Taps - 1 + u) * Line), filter, bias, past, pending, dFilter, dBias,
                result);
            if (tile - (Taps - 1) + u < rest) store_stream<T, V>(dX, u * a.channels, result);
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
    if (warp || channel >= a.channels) return;
    for (int other = 0; other < Warps - 1; other++)
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float* from = sums + (other * V + i) * (Taps + 1) * 32;
#pragma unroll
            for (int k = 0; k < Taps; k++) dFilter[k][i] += from[k * 32];
            dBias[i] += from[Taps * 32];
        }
    const i64 at = place * a.channels + channel;
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float taps[Taps] = {dFilter[0][i], dFilter[1][i], dFilter[2][i], dFilter[3][i]};
        store<float, Taps>(a.dWeight, (at + i) * Taps, taps);
    }
    store<float, V>(a.dBias, at, dBias);
}

template <class T, int V> __device__ __forceinline__ void convolution_backward_plain(const ConvolutionArguments& a) {
    if (a.silu) plain_backward<T, V, true>(a); else plain_backward<T, V, false>(a);
}

// one token for every row: the sum is taken and the state, which `final` and `initial` both are, moves on by one
template <class T, int V, int Taps> __device__ __forceinline__ void convolution_step(const ConvolutionArguments& a) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= a.batch * a.groups) return;
    const i64 channel = item % a.groups * V, row = item / a.groups;
    float filter[Taps][V], sum[V], past[Taps][V];
    const i64 slot = a.slots ? a.slots[row] : row;
    if (slot < 0 || slot >= a.slotCount) {
        clear(sum);
        store<T, V>(a.output, row * a.channels + channel, sum);
        return;
    }
    load_filter<V, Taps>(a, channel, filter, sum);
    load_past<T, V, Taps>(a, slot, 0, channel, past);
    load<T, V>(a.x, row * a.xRow + channel, past[Taps - 1]);
#pragma unroll
    for (int i = 0; i < V; i++) {
#pragma unroll
        for (int k = 0; k < Taps; k++) sum[i] += filter[k][i] * past[k][i];
        if (a.silu) sum[i] *= sigmoid(sum[i]);
    }
    store<T, V>(a.output, row * a.channels + channel, sum);
#pragma unroll
    for (int k = 1; k < Taps; k++) {
        const i64 at = k - (Taps - a.width) - 1;
        if (at >= 0) store<T, V>(a.final, (slot * (a.width - 1) + at) * a.channels + channel, past[k]);
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
