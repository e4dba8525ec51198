// The causal convolution of full rows, of one document or several, with a filter of 4 taps: the usual cases in training.
#pragma once
#include "CausalConvolution.cuh"

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

// Removes the inputs of earlier documents from those before a token. Bit 2 of `begins` is set if a document begins at the token, bit 1 at the one
// before, and bit 0 two tokens before.
template <int V> __device__ __forceinline__ void clear_past(unsigned begins, float (&past)[plainTaps][V]) {
    if (begins & 7) clear(past[0]);
    if (begins & 6) clear(past[1]);
    if (begins & 4) clear(past[2]);
}

// Returns whether a document begins at a token, which need not exist.
__device__ __forceinline__ unsigned begins_at(const ConvolutionArguments& args, i64 row, i64 token) {
    return token >= 0 && token < args.length && args.starts[row * args.length + token];
}

// Processes the tokens of one thread. Whole: all tokens exist, and the tokens before them, so that no condition is needed; their sums and functions
// then overlap. Documents: rows can have several documents, and tokens without a beginning near them are processed as in other rows.
template <class T, int V, bool Silu, bool Documents, bool Whole> __device__ __forceinline__ void plain_tokens(
    const ConvolutionArguments& args, i64 row, i64 firstToken, int tokenCount, i64 channel) {
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
    unsigned begins = 0;  // bit u + 2 is that of token u
    if constexpr (Documents)
#pragma unroll
        for (int u = 0; u < Tokens + 2; u++) begins |= begins_at(args, row, firstToken + u - 2) << u;
    float filter[Taps][V], bias[V], past[Taps][V];
    plain_filter<V>(args, channel, filter, bias);
#pragma unroll
    for (int k = 0; k < Taps - 1; k++) unpack<T, V>(before[k], past[k]);
    if (Documents && begins) {
#pragma unroll
        for (int u = 0; u < Tokens; u++) {
            float sum[V];
            unpack<T, V>(xs[u], past[Taps - 1]);
            clear_past<V>(begins >> u, past);
            next_sum(filter, bias, Silu, past, sum);
            if (Whole || u < tokenCount) store<T, V>(to, 0, sum);
            to += args.channels;
        }
        return;
    }
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
template <class T, int V, bool Silu, bool Documents> __device__ __forceinline__ void plain_forward(const ConvolutionArguments& args) {
    constexpr int Tokens = CONVOLUTION_TOKENS;
    // 32 bits: 64-bit divisions would cost as much as everything else here.
    const unsigned item = blockIdx.x * 128 + threadIdx.x, groups = static_cast<unsigned>(args.groups), tiles = static_cast<unsigned>(args.tiles);
    const unsigned rowTile = item / groups, row = rowTile / tiles;
    if (row >= args.batch) return;
    const i64 channel = static_cast<i64>(item - rowTile * groups) * V, firstToken = static_cast<i64>(rowTile - row * tiles) * Tokens;
    const int tokenCount = static_cast<int>(args.length - firstToken < Tokens ? args.length - firstToken : Tokens);
    if (firstToken && tokenCount == Tokens) plain_tokens<T, V, Silu, Documents, true>(args, row, firstToken, tokenCount, channel);
    else plain_tokens<T, V, Silu, Documents, false>(args, row, firstToken, tokenCount, channel);
    if (firstToken + Tokens >= args.length) write_final<T, V>(args, row, channel);
}

template <class T, int V, bool Documents> __device__ __forceinline__ void convolution_forward_plain(const ConvolutionArguments& args) {
    if (args.silu) plain_forward<T, V, true, Documents>(args); else plain_forward<T, V, false, Documents>(args);
}

// Moves by one token: the gradient of the input Taps - 1 tokens back is complete. Own: whether the token is in the tile, not after it. Near: whether
// a document may begin at the token or up to two tokens before; `begins` has these bits as in clear_past.
template <class T, int V, bool Silu, bool Own, bool Near> __device__ __forceinline__ void advance(const Raw<T, V>& x, const Raw<T, V>& gradient,
    unsigned begins, const float (&filter)[plainTaps][V], const float (&bias)[V],
    float (&past)[plainTaps][V], float (&pending)[plainTaps - 1][V], float (&dFilter)[plainTaps][V], float (&dBias)[V], float (&result)[V]) {
    constexpr int Taps = plainTaps;
    if (Near) clear_past<V>(begins, past);
    // whether the input that many tokens back is in another document
    auto apart = [&](int back) { return Near && (begins & (8 - (4 >> (back - 1)))) != 0; };
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
        result[i] = pending[0][i] + filter[0][i] * (apart(Taps - 1) ? 0 : dSum);
#pragma unroll
        for (int k = 0; k < Taps - 2; k++) pending[k][i] = pending[k + 1][i] + filter[k + 1][i] * (apart(Taps - 2 - k) ? 0 : dSum);
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

// Asks for the U tokens of a step of the inputs and gradients of a thread. Zeros after the end of the row have no effect.
template <class T, int V, int U, int Line> __device__ __forceinline__ void ask_tokens(
    const ConvolutionArguments& args, const T* x, const T* gradient, char* to, int step, int rest) {
    constexpr int Bytes = V * static_cast<int>(sizeof(T));
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
}

// Returns a bit for each token of the tile of a warp, and of the Taps - 1 after it: bit u + 2 is set if a document begins at token u. By whole warps.
__device__ __forceinline__ unsigned begins_of(const ConvolutionArguments& args, i64 row, i64 firstToken, int tile) {
    const int lane = threadIdx.x % 32;
    unsigned bits = lane < tile + plainTaps + 1 ? begins_at(args, row, firstToken + lane - 2) << lane : 0;
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) bits |= as_bits(from_lane_xor(as_float(bits), offset));
    return bits;
}

// Adds up the sums of the warps of a block for the filter, in shared memory, and writes them. By the whole block.
template <int V, int Warps> __device__ __forceinline__ void write_filter_sums(
    const ConvolutionArguments& args, float* shared, unsigned rowTile, i64 channel, float (&dFilter)[plainTaps][V], float (&dBias)[V]) {
    constexpr int Taps = plainTaps;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float* sums = shared + lane;
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

// A warp processes 32 V channels and a tile. The warps of a block process consecutive tiles and add up their sums for the filter. Each thread copies
// its own inputs and gradients to shared memory, 4 tokens per stage, and reads only these, so no thread waits for another. The tokens after the tile,
// with which the next warp begins, are copied first: at the end of the tile they would no longer be in the caches.
template <class T, int V, bool Silu, bool Documents> __device__ __forceinline__ void plain_backward(const ConvolutionArguments& args) {
    constexpr int Taps = plainTaps, Warps = 8, U = 4, Bytes = V * static_cast<int>(sizeof(T)), Stages = Bytes > 8 ? 2 : CONVOLUTION_STAGES;
    constexpr int Line = Warps * 32 * Bytes, Stage = 2 * U * Line;
    DYNAMIC_SHARED(char, shared);  // stages, then the tokens after the tile; at the end, sums of warps
    const unsigned slabs = static_cast<unsigned>((args.groups + 31) / 32), tiles = static_cast<unsigned>(args.tiles), rowTile = blockIdx.x / slabs,
        row = rowTile / tiles;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tile = static_cast<int>(args.tile);
    const i64 channel = (static_cast<i64>(blockIdx.x - rowTile * slabs) * 32 + lane) * V,
        firstToken = (static_cast<i64>(rowTile - row * tiles) * Warps + warp) * tile;
    const int rest = static_cast<int>(args.length - firstToken < tile + Taps ? args.length - firstToken : tile + Taps);
    const unsigned begins = Documents ? begins_of(args, row, firstToken, tile) : 0;
    float filter[Taps][V], bias[V], dFilter[Taps][V], dBias[V];
    clear(dBias);
#pragma unroll
    for (int k = 0; k < Taps; k++) clear(dFilter[k]);
    if (channel < args.channels && rest > 0) {
        const T* x = static_cast<const T*>(args.x) + row * args.xRow + firstToken * args.xToken + channel;
        const T* gradient = static_cast<const T*>(args.gradient) + row * args.gradientRow + firstToken * args.gradientToken + channel;
        T* dX = static_cast<T*>(args.dX) + row * args.dXRow + (firstToken - (Taps - 1)) * args.dXToken + channel;
        char *mine = shared + threadIdx.x * Bytes, *after = mine + Stages * Stage;
        float past[Taps][V], pending[Taps - 1][V], result[V];
        Raw<T, V> before[Taps - 1];
        auto raw = [](const char* at) { return *reinterpret_cast<const Raw<T, V>*>(at); };
        auto ask = [&](int step) {
            ask_tokens<T, V, U, Line>(args, x, gradient, mine + step % Stages * Stage, step, rest);
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
            const unsigned near = Documents ? begins >> (U * step) & ((1u << (U + 2)) - 1) : 0;
            if (near) {
#pragma unroll 1
                for (int u = 0; u < U; u++) {
                    advance<T, V, Silu, true, true>(raw(from + u * Line), raw(from + (U + u) * Line), near >> u, filter, bias, past, pending,
                        dFilter, dBias, result);
                    if ((step || u >= Taps - 1) && u < left) store_stream<T, V>(dX, u * args.dXToken, result);
                }
            } else {
#pragma unroll
                for (int u = 0; u < U; u++) {
                    advance<T, V, Silu, true, false>(raw(from + u * Line), raw(from + (U + u) * Line), 0, filter, bias, past, pending, dFilter,
                        dBias, result);
                    if ((step || u >= Taps - 1) && u < left) store_stream<T, V>(dX, u * args.dXToken, result);
                }
            }
            dX += U * args.dXToken;
        }
        copy_wait<0>();
#pragma unroll
        for (int u = 0; u < Taps - 1; u++) {
            advance<T, V, Silu, false, Documents>(raw(after + u * Line), raw(after + (Taps - 1 + u) * Line), begins >> (tile + u), filter, bias,
                past, pending, dFilter, dBias, result);
            if (tile - (Taps - 1) + u < rest) store_stream<T, V>(dX, u * args.dXToken, result);
        }
    }
    write_filter_sums<V, Warps>(args, reinterpret_cast<float*>(shared), rowTile, channel, dFilter, dBias);
}

template <class T, int V, bool Documents> __device__ __forceinline__ void convolution_backward_plain(const ConvolutionArguments& args) {
    if (args.silu) plain_backward<T, V, true, Documents>(args); else plain_backward<T, V, false, Documents>(args);
}
