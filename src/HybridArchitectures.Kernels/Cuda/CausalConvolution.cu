// The depthwise causal convolution along the sequence, forward, backward, last inputs, and one step.
//
// A thread takes V neighbouring channels (16 bytes, or one) of one row and walks a tile of tokens with the last Taps inputs in registers, so that an input is
// read once (and the Taps - 1 before a tile once more). Taps is 4 or 8; a shorter filter is filled up with zeros on the side of the past. At a document's start
// the registers are set to zero. Backward: the walk is repeated, the sum under the SiLU made again; the gradient of an input is complete Taps - 1 tokens later,
// so a tile goes on that far into the next one. A tile's sums for the filter are written once and added up over tiles in a fixed order.
// Where a row has one document and the filter fills the taps, Ahead tokens are loaded before the first is used, so that enough reads are under way; backward has a kernel of
// its own for that, since registers for what is not needed would cost a third of the warps.
// 2 elements a place forward, 3 backward; 2 Taps and 6 Taps operations. Limits on one H200 at 8 x 8192 x 4096 bfloat16: 0.25 ms forward
// (reached: 0.29), 0.375 ms backward (0.445).
#include "common.cuh"

#ifndef CONVOLUTION_AHEAD
#define CONVOLUTION_AHEAD 4
#endif
#ifndef CONVOLUTION_BACKWARD_AHEAD
#define CONVOLUTION_BACKWARD_AHEAD 4
#endif
#ifndef CONVOLUTION_BLOCKS                                    // of 128 threads that a multiprocessor is to hold backward
#define CONVOLUTION_BLOCKS 4
#endif
#ifndef CONVOLUTION_VECTOR                                    // channels of a thread in bfloat16; the host has the same number
#define CONVOLUTION_VECTOR 4
#endif

struct ConvolutionArguments {
    const void *x, *initial, *gradient, *finalGradient;       // initial, finalGradient (batch, width - 1, channels); gradient (batch, length, channels)
    const float *weight, *bias;                               // (channels, width), (channels)
    const bool* starts;                                       // (batch, length), or null
    const i64 *lengths, *slots;                               // (batch) each, or null; slots, in a single step: where a row's state is, or -1 for a row that is padding
    void *output, *final, *dX, *dInitial;
    float* dFilter;                                           // (batch * tiles, channels, width + 1): the filter's part, then the bias's
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
template <class T, int V, int Taps> __device__ __forceinline__ void load_past(const ConvolutionArguments& a, i64 row, i64 first, i64 channel, float (&past)[Taps][V]) {
    bool same = true;                                         // still in the document of `first`
#pragma unroll
    for (int back = 1; back < Taps; back++) {
        const i64 after = first - back + 1;
        if (a.starts && after >= 0 && after < a.length && a.starts[row * a.length + after]) same = false;
        if (same && back < a.width) input<T, V>(a, row, first - back, channel, past[Taps - 1 - back]);
        else clear(past[Taps - 1 - back]);
    }
}

template <int V, int Taps> __device__ __forceinline__ void load_filter(const ConvolutionArguments& a, i64 channel, float (&filter)[Taps][V], float (&bias)[V]) {
#pragma unroll
    for (int k = 0; k < Taps; k++)
#pragma unroll
        for (int i = 0; i < V; i++) {
            const i64 tap = k - (Taps - a.width);
            filter[k][i] = tap >= 0 ? a.weight[(channel + i) * a.width + tap] : 0;
        }
#pragma unroll
    for (int i = 0; i < V; i++) bias[i] = a.bias ? a.bias[channel + i] : 0;
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
#pragma unroll
                for (int i = 0; i < V; i++) {
                    sum[i] = bias[i];
#pragma unroll
                    for (int k = 0; k < Taps; k++) sum[i] += filter[k][i] * past[k][i];
                    if (a.silu) sum[i] *= sigmoid(sum[i]);
#pragma unroll
                    for (int k = 0; k < Taps - 1; k++) past[k][i] = past[k + 1][i];
                }
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
#pragma unroll
            for (int i = 0; i < V; i++) {
                sum[i] = bias[i];
#pragma unroll
                for (int k = 0; k < Taps; k++) sum[i] += filter[k][i] * past[k][i];
                if (a.silu) sum[i] *= sigmoid(sum[i]);
            }
#pragma unroll
            for (int k = 0; k < Taps - 1; k++)
#pragma unroll
                for (int i = 0; i < V; i++) past[k][i] = past[k + 1][i];
        } else clear(sum);
        store<T, V>(a.output, (row * a.length + t) * a.channels + channel, sum);
    }
}

template <class T, int V, int Taps> __device__ __forceinline__ void convolution_backward(const ConvolutionArguments& a) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= a.batch * a.tiles * a.groups) return;
    const i64 channel = item % a.groups * V, place = item / a.groups, row = place / a.tiles, first = place % a.tiles * a.tile, valid = row_length(a, row);
    const i64 end = first + a.tile < a.length ? first + a.tile : a.length;
    float filter[Taps][V], bias[V], past[Taps][V], pending[Taps][V], dFilter[Taps][V], dBias[V];   // pending[k]: the gradient of the input Taps - 1 - k tokens back
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
        else if (done < 0 && first == 0 && a.dInitial) store<T, V>(a.dInitial, (row * (a.width - 1) + done + a.width - 1) * a.channels + channel, result);
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
        float* to = a.dFilter + (place * a.channels + channel + i) * (a.width + 1);
#pragma unroll
        for (int k = 0; k < Taps; k++) {
            const i64 tap = k - (Taps - a.width);
            if (tap >= 0) to[tap] = dFilter[k][i];
        }
        to[a.width] = dBias[i];
    }
}

// tokens t to t + Ahead - 1 of those that are there, and zeros, which change nothing
template <class T, int V, int Ahead> __device__ __forceinline__ void fetch(const T* from, i64 token, int t, int there, Raw<T, V> (&to)[Ahead]) {
    const float zeros[V] = {};
#pragma unroll
    for (int u = 0; u < Ahead; u++) to[u] = t + u < there ? load_raw<T, V>(from, u * token) : pack<T, V>(zeros);
}

// one token further: the gradient of the input Taps - 1 tokens back is complete. Own: not a token after the tile, which its last inputs reach
template <class T, int V, int Taps, bool Own> __device__ __forceinline__ void advance(const ConvolutionArguments& a, const Raw<T, V>& x, const Raw<T, V>& gradient, const float (&filter)[Taps][V],
    const float (&bias)[V], float (&past)[Taps][V], float (&pending)[Taps][V], float (&dFilter)[Taps][V], float (&dBias)[V], float (&result)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) {
        past[Taps - 1][i] = x[i];
        float dSum = gradient[i];
        if (a.silu) {
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
        for (int k = 0; k < Taps - 1; k++) {
            past[k][i] = past[k + 1][i];
            pending[k][i] = pending[k + 1][i] + filter[k + 1][i] * dSum;
        }
    }
}

// Backward for full rows of one document, no states, a filter of Taps taps: the usual case in training. The next tokens are loaded while these are worked on.
template <class T, int V, int Taps> __device__ __forceinline__ void convolution_backward_plain(const ConvolutionArguments& a) {
    constexpr int Ahead = CONVOLUTION_BACKWARD_AHEAD;
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= a.batch * a.tiles * a.groups) return;
    const i64 place = item / a.groups, channel = (item - place * a.groups) * V, row = place / a.tiles, first = (place - row * a.tiles) * a.tile;
    const i64 end = first + a.tile < a.length ? first + a.tile : a.length;
    const T *x = static_cast<const T*>(a.x) + row * a.xRow + channel, *gradient = static_cast<const T*>(a.gradient) + row * a.gradientRow + channel;
    T* dX = static_cast<T*>(a.dX) + row * a.length * a.channels + channel;
    float filter[Taps][V], bias[V], past[Taps][V], pending[Taps][V], dFilter[Taps][V], dBias[V];   // as in the general form
    load_filter<V, Taps>(a, channel, filter, bias);
    clear(dBias);
#pragma unroll
    for (int k = 0; k < Taps; k++) {
        clear(pending[k]); clear(dFilter[k]); clear(past[k]);
        if (k < Taps - 1 && first - (Taps - 1) + k >= 0) load<T, V>(x, (first - (Taps - 1) + k) * a.xToken, past[k]);
    }
    // counted from the tile's first token
    const int tokens = static_cast<int>(end - first), there = static_cast<int>(a.length - first < a.tile + Taps - 1 ? a.length - first : a.tile + Taps - 1);
    x += first * a.xToken;
    gradient += first * a.gradientToken;
    dX += (first - (Taps - 1)) * a.channels;
    static_assert(Taps - 1 <= Ahead, "the tokens after a tile are in one fetch");
    Raw<T, V> xs[Ahead], gradients[Ahead], nextXs[Ahead], nextGradients[Ahead];
    fetch(x, a.xToken, 0, there, xs);
    fetch(gradient, a.gradientToken, 0, there, gradients);
    int t = 0;
    for (; t < tokens; t += Ahead) {
        x += Ahead * a.xToken;
        gradient += Ahead * a.gradientToken;
        fetch(x, a.xToken, t + Ahead, there, nextXs);
        fetch(gradient, a.gradientToken, t + Ahead, there, nextGradients);
#pragma unroll
        for (int u = 0; u < Ahead; u++) {
            float result[V];
            advance<T, V, Taps, true>(a, xs[u], gradients[u], filter, bias, past, pending, dFilter, dBias, result);
            if (t + u >= Taps - 1 && t + u < tokens + Taps - 1) store<T, V>(dX, u * a.channels, result);
        }
        dX += Ahead * a.channels;
#pragma unroll
        for (int u = 0; u < Ahead; u++) { xs[u] = nextXs[u]; gradients[u] = nextGradients[u]; }
    }
#pragma unroll
    for (int u = 0; u < Taps - 1; u++) {
        float result[V];
        advance<T, V, Taps, false>(a, xs[u], gradients[u], filter, bias, past, pending, dFilter, dBias, result);
        if (t + u >= Taps - 1 && t + u < tokens + Taps - 1) store<T, V>(dX, u * a.channels, result);
    }
#pragma unroll
    for (int i = 0; i < V; i++) {
        float* to = a.dFilter + (place * a.channels + channel + i) * (Taps + 1);
#pragma unroll
        for (int k = 0; k < Taps; k++) to[k] = dFilter[k][i];
        to[Taps] = dBias[i];
    }
}

// the last width - 1 inputs of each row's last document
template <class T, int V> __device__ __forceinline__ void convolution_final(const ConvolutionArguments& a) {
    const i64 item = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x;
    if (item >= a.batch * a.groups) return;
    const i64 channel = item % a.groups * V, row = item / a.groups, valid = row_length(a, row);
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
    KERNEL_OF(convolution_backward_plain_##type##_##size, 128, CONVOLUTION_BLOCKS, ConvolutionArguments, convolution_backward_plain<T, V, 4>) \
    KERNEL(convolution_backward_4_##type##_##size, 128, ConvolutionArguments, convolution_backward<T, V, 4>) \
    KERNEL(convolution_backward_8_##type##_##size, 128, ConvolutionArguments, convolution_backward<T, V, 8>) \
    KERNEL(convolution_step_4_##type##_##size, 128, ConvolutionArguments, convolution_step<T, V, 4>) \
    KERNEL(convolution_step_8_##type##_##size, 128, ConvolutionArguments, convolution_step<T, V, 8>) \
    KERNEL(convolution_final_##type##_##size, 128, ConvolutionArguments, convolution_final<T, V>)

CONVOLUTION(float32, float, 4, vector)
CONVOLUTION(float32, float, 1, single)
CONVOLUTION(bfloat16, bfloat16, CONVOLUTION_VECTOR, vector)
CONVOLUTION(bfloat16, bfloat16, 1, single)
