// The causal convolution of any rows and filters, and of one token for every row.
#pragma once
#include "CausalConvolution.cuh"

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
            for (int ahead = 0; ahead < Ahead; ahead++) raw[ahead] = load_raw<T, V>(from, (t + ahead) * args.xToken);
#pragma unroll
            for (int ahead = 0; ahead < Ahead; ahead++) {
                float sum[V];
                unpack<T, V>(raw[ahead], past[Taps - 1]);
                next_sum(filter, bias, args.silu, past, sum);
                store<T, V>(to, (t + ahead) * args.channels, sum);
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

// Returns the start of the last document of the row, to whose inputs a final gradient belongs.
__device__ __forceinline__ i64 last_start_of(const ConvolutionArguments& args, i64 row, i64 valid) {
    i64 lastStart = -args.width;
    if (args.starts && args.finalGradient)
        for (i64 t = valid - args.width + 2 > 1 ? valid - args.width + 2 : 1; t < valid; t++)
            if (args.starts[row * args.length + t]) lastStart = t;
    return lastStart;
}

// Adds the gradients of the sum at token t. The tile ends at token `end`; a token after it adds nothing to the filter.
template <class T, int V, int Taps> __device__ __forceinline__ void add_token(
    const ConvolutionArguments& args, i64 row, i64 t, i64 end, i64 channel, const float (&filter)[Taps][V], const float (&bias)[V],
    float (&past)[Taps][V], float (&pending)[Taps][V], float (&dFilter)[Taps][V], float (&dBias)[V]) {
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

// Moves the pending gradients by one token.
template <int V, int Taps> __device__ __forceinline__ void move_pending(i64 width, float (&pending)[Taps][V]) {
#pragma unroll
    for (int k = 0; k < Taps - 1; k++)
#pragma unroll
        for (int i = 0; i < V; i++) pending[k][i] = pending[k + 1][i];
    clear(pending[Taps - 1]);
#pragma unroll
    for (int k = 0; k < Taps; k++)
        if (k < Taps - width) clear(pending[k]);
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
    const i64 lastStart = last_start_of(args, row, valid);
    // The tokens whose gradient is written: [firstToken, end), and before column 0 those of the initial state.
    const i64 stop = end + args.width - 1;
    for (i64 t = firstToken; t < stop; t++) {
        if (t < valid) add_token<T, V, Taps>(args, row, t, end, channel, filter, bias, past, pending, dFilter, dBias);
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
        if (done >= firstToken && done < end) store<T, V>(args.dX, row * args.dXRow + done * args.dXToken + channel, result);
        else if (done < 0 && firstToken == 0 && args.dInitial)
            store<T, V>(args.dInitial, (row * (args.width - 1) + done + args.width - 1) * args.channels + channel, result);
        move_pending<V, Taps>(args.width, pending);
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

template <class T, int V> __device__ __forceinline__ void convolution_final(const ConvolutionArguments& args) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item < args.batch * args.groups) write_final<T, V>(args, item / args.groups, item % args.groups * V);
}

// Writes the inputs before a token, past[0 .. Taps - 2], as the state of a slot.
template <class T, int V, int Taps> __device__ __forceinline__ void write_past(
    const ConvolutionArguments& args, void* to, i64 slot, i64 channel, const float (&past)[Taps][V]) {
#pragma unroll
    for (int k = 0; k < Taps - 1; k++) {
        const i64 at = k - (Taps - args.width);
        if (at >= 0) store<T, V>(to, (slot * (args.width - 1) + at) * args.channels + channel, past[k]);
    }
}

// Processes a few tokens for every row, one after another: the sums are computed and the state, which `final` and `initial` both are, moves. `before`
// receives the state before the first token, if given. With `counts`, the state of a row is instead set to that after its first counts[row] tokens,
// at least one, from `before`, which `initial` then is. A row that keeps all tokens is left as it is.
template <class T, int V, int Taps> __device__ __forceinline__ void convolution_step(const ConvolutionArguments& args) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= args.batch * args.groups) return;
    const i64 channel = item % args.groups * V, row = item / args.groups;
    float filter[Taps][V], bias[V], past[Taps][V], next[V];
    const i64 slot = args.slots ? args.slots[row] : row;
    i64 tokens = args.length;
    if (slot < 0 || slot >= args.slotCount) {
        clear(next);
        for (i64 token = 0; token < tokens; token++) store<T, V>(args.output, (row * tokens + token) * args.channels + channel, next);
        return;
    }
    if (args.counts) {
        tokens = args.counts[row];
        if (tokens >= args.length) return;
    }
    else load_filter<V, Taps>(args, channel, filter, bias);
    load_past<T, V, Taps>(args, slot, 0, channel, past);
    if (args.before && !args.counts) write_past<T, V, Taps>(args, args.before, slot, channel, past);
    load<T, V>(args.x, row * args.xRow + channel, next);
#pragma unroll 1
    for (i64 token = 0; token < tokens; token++) {
#pragma unroll
        for (int i = 0; i < V; i++) past[Taps - 1][i] = next[i];
        if (token + 1 < tokens) load<T, V>(args.x, row * args.xRow + (token + 1) * args.xToken + channel, next);
        if (args.counts) {
#pragma unroll
            for (int k = 0; k < Taps - 1; k++)
#pragma unroll
                for (int i = 0; i < V; i++) past[k][i] = past[k + 1][i];
            continue;
        }
        float sum[V];
        next_sum<V, Taps>(filter, bias, args.silu, past, sum);
        store<T, V>(args.output, (row * args.length + token) * args.channels + channel, sum);
    }
    write_past<T, V, Taps>(args, args.final, slot, channel, past);
}
