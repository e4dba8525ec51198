// The selective scan: h = exp(delta a) h + delta x b, y = (h c + skip x) silu(gate), and its gradients.
//
// A channel's N states are shared by Lanes neighbouring lanes, PerLane each, in registers; a block of 128 threads holds 128 / Lanes neighbouring channels of one
// group and walks its row of tokens in order. b, c, x and delta of a tile of tokens stand in shared memory as float32, so b and c are read from memory once for
// all channels of the block and softplus is taken once, not once a lane. Forward leaves the state at each tile's start where gradients are wanted.
// Backward walks the tiles from the last: the states of Sub tokens are made again in registers, then walked back. Gradients of b and c are summed over the
// block's channels in a fixed order (lanes, then warps) and written once a block, to be added up over blocks.
// Bytes forward: x, delta, gate and y once. Per token, channel and state forward one exponential and 4 operations, backward 2 to 3 and about 20.
#include "common.cuh"

struct ScanArguments {
    Typed x, timeStep, gate, b, c, gradient;         // (batch, length, channels) by strides; b, c (batch, length, groups, states) without gaps
    const float *a, *skip, *bias, *initial, *finalGradient;   // (channels, states), (channels) twice, (batch, channels, states) twice; all but a may be null
    const bool* starts;                              // (batch, length), or null
    const i64* lengths;                              // (batch), or null
    TypedOutput output, dX, dTimeStep, dGate;        // without gaps
    float *final, *saved;                            // (batch, channels, states), (batch, tiles, channels, states) or null
    float *dA, *dB, *dC, *dSkip, *dBias, *dInitial;  // (batch, channels, states), (blocks of a group, batch, length, groups, states) twice, (batch, channels) twice, like final
    i64 length, channels, groups, states, blocksPerGroup, batch;
    i64 xRow, xToken, stepRow, stepToken, gateRow, gateToken, gradientRow, gradientToken;
    int softplus;
};

__device__ constexpr int scan_tile(int padded) { return padded <= 64 ? 32 : 16; }
__device__ constexpr int scan_sub(int padded) { return padded <= 128 ? 16 : 8; }

template <int Lanes, int PerLane> struct Scan {
    static constexpr int Padded = Lanes * PerLane, Channels = 128 / Lanes, Tile = scan_tile(Padded), Sub = scan_sub(Padded);

    const ScanArguments& a;
    i64 row, group, first, count, valid, tiles;      // the block's channels are first to first + count - 1
    int lane, own;                                   // own: this thread's channel in the block

    __device__ __forceinline__ explicit Scan(const ScanArguments& arguments) : a(arguments) {
        const i64 perGroup = a.channels / a.groups;
        group = blockIdx.x / a.blocksPerGroup;
        row = blockIdx.y;
        first = group * perGroup + blockIdx.x % a.blocksPerGroup * Channels;
        const i64 left = (group + 1) * perGroup - first;
        count = left < Channels ? left : Channels;
        valid = a.length;
        if (a.lengths) valid = a.lengths[row];
        tiles = (a.length + Tile - 1) / Tile;
        lane = threadIdx.x % Lanes;
        own = threadIdx.x / Lanes;
    }

    __device__ __forceinline__ bool starts(i64 t) const { return a.starts && a.starts[row * a.length + t]; }

    __device__ __forceinline__ bool holds(int j) const { return own < count && j * Lanes + lane < a.states; }

    __device__ __forceinline__ i64 place(int j) const { return (first + own) * a.states + j * Lanes + lane; }

    // b and c of tokens [begin, begin + Tile), zeros past the row's end and past the states
    __device__ __forceinline__ void stage(i64 begin, float* b, float* c) const {
        for (int i = threadIdx.x; i < Tile * Padded; i += 128) {
            const i64 t = begin + i / Padded, n = i % Padded;
            const bool there = t < valid && n < a.states;
            const i64 at = ((row * a.length + t) * a.groups + group) * a.states + n;
            b[i] = there ? a.b[at] : 0.f;
            c[i] = there ? a.c[at] : 0.f;
        }
    }

    __device__ __forceinline__ float raw_step(i64 t, i64 channel) const {
        return a.timeStep[row * a.stepRow + t * a.stepToken + channel] + (a.bias ? a.bias[channel] : 0.f);
    }

    __device__ __forceinline__ void stage(i64 begin, float* x, float* delta, float* slope) const {
        for (int i = threadIdx.x; i < Tile * Channels; i += 128) {
            const i64 t = begin + i / Channels, channel = first + i % Channels;
            const bool there = t < valid && i % Channels < count;
            float raw = there ? raw_step(t, channel) : 0.f;
            x[i] = there ? a.x[row * a.xRow + t * a.xToken + channel] : 0.f;
            delta[i] = !there ? 0.f : a.softplus ? softplus(raw) : raw;
            if (slope) slope[i] = a.softplus ? sigmoid(raw) : 1.f;
        }
    }

    __device__ __forceinline__ void forward() const {
        DYNAMIC_SHARED(float, shared);
        float *b = shared, *c = b + Tile * Padded, *x = c + Tile * Padded, *delta = x + Tile * Channels, *y = delta + Tile * Channels;
        float state[PerLane], rate[PerLane];
#pragma unroll
        for (int j = 0; j < PerLane; j++) {
            rate[j] = holds(j) ? a.a[place(j)] * log2_e : 0.f;
            state[j] = holds(j) && a.initial ? a.initial[row * a.channels * a.states + place(j)] : 0.f;
        }
        for (i64 tile = 0; tile < tiles; tile++) {
            const i64 begin = tile * Tile;
            stage(begin, b, c);
            stage(begin, x, delta, nullptr);
            if (a.saved)
#pragma unroll
                for (int j = 0; j < PerLane; j++)
                    if (holds(j)) a.saved[(row * tiles + tile) * a.channels * a.states + place(j)] = state[j];
            __syncthreads();
            for (int i = 0; i < Tile && begin + i < a.length; i++) {
                if (starts(begin + i))
#pragma unroll
                    for (int j = 0; j < PerLane; j++) state[j] = 0;
                const float step = delta[i * Channels + own], added = step * x[i * Channels + own];
                float sum = 0;
#pragma unroll
                for (int j = 0; j < PerLane; j++) {
                    state[j] = exp2_approximate(step * rate[j]) * state[j] + added * b[i * Padded + j * Lanes + lane];
                    sum += state[j] * c[i * Padded + j * Lanes + lane];
                }
                sum = lane_sum(sum, Lanes);
                if (lane == 0) y[i * Channels + own] = sum;
            }
            __syncthreads();
            for (int i = threadIdx.x; i < Tile * Channels; i += 128) {
                const i64 t = begin + i / Channels, channel = first + i % Channels;
                if (t >= a.length || i % Channels >= count) continue;
                float value = 0;
                if (t < valid) {
                    value = y[i] + (a.skip ? a.skip[channel] * x[i] : 0.f);
                    if (a.gate.base) {
                        const float gate = a.gate[row * a.gateRow + t * a.gateToken + channel];
                        value *= gate * sigmoid(gate);
                    }
                }
                a.output.set((row * a.length + t) * a.channels + channel, value);
            }
            __syncthreads();
        }
#pragma unroll
        for (int j = 0; j < PerLane; j++)
            if (holds(j)) a.final[row * a.channels * a.states + place(j)] = state[j];
    }

    __device__ __forceinline__ void backward() const {
        DYNAMIC_SHARED(float, shared);
        float *b = shared, *c = b + Tile * Padded, *x = c + Tile * Padded, *delta = x + Tile * Channels, *slope = delta + Tile * Channels;
        float *dy = slope + Tile * Channels, *y = dy + Tile * Channels, *dx = y + Tile * Channels, *dDelta = dx + Tile * Channels;
        float *dB = dDelta + Tile * Channels, *dC = dB + 4 * Sub * Padded;      // (warps, Sub, Padded) each
        const int warp = threadIdx.x / 32;
        float rate[PerLane], carry[PerLane], dRate[PerLane];                    // carry: the gradient of the state, from what follows
        float dSkip = 0, dBias = 0;                                             // of channel threadIdx.x % Channels
#pragma unroll
        for (int j = 0; j < PerLane; j++) {
            rate[j] = holds(j) ? a.a[place(j)] : 0.f;
            carry[j] = holds(j) && a.finalGradient ? a.finalGradient[row * a.channels * a.states + place(j)] : 0.f;
            dRate[j] = 0;
        }
        for (i64 tile = tiles - 1; tile >= 0; tile--) {
            const i64 begin = tile * Tile;
            stage(begin, b, c);
            stage(begin, x, delta, slope);
            for (int i = threadIdx.x; i < Tile * Channels; i += 128) {
                const i64 t = begin + i / Channels, channel = first + i % Channels;
                float value = 0;
                if (t < valid && i % Channels < count) {
                    value = a.gradient[row * a.gradientRow + t * a.gradientToken + channel];
                    if (a.gate.base) {
                        const float gate = a.gate[row * a.gateRow + t * a.gateToken + channel];
                        value *= gate * sigmoid(gate);
                    }
                }
                dy[i] = value;
            }
            float middle[Tile / Sub][PerLane];                                  // the state before each part of Sub tokens
#pragma unroll
            for (int j = 0; j < PerLane; j++) middle[0][j] = holds(j) ? a.saved[(row * tiles + tile) * a.channels * a.states + place(j)] : 0.f;
            __syncthreads();
#pragma unroll
            for (int part = 1; part < Tile / Sub; part++) {
                float state[PerLane];
#pragma unroll
                for (int j = 0; j < PerLane; j++) state[j] = middle[part - 1][j];
                for (int i = (part - 1) * Sub; i < part * Sub && begin + i < a.length; i++) advance(state, rate, begin, i, b, x, delta);
#pragma unroll
                for (int j = 0; j < PerLane; j++) middle[part][j] = state[j];
            }
#pragma unroll
            for (int part = Tile / Sub - 1; part >= 0; part--) {
                float states[Sub][PerLane];                                     // after each token
#pragma unroll
                for (int i = 0; i < Sub; i++) {
                    float state[PerLane];
#pragma unroll
                    for (int j = 0; j < PerLane; j++) state[j] = i ? states[i ? i - 1 : 0][j] : middle[part][j];
                    if (begin + part * Sub + i < a.length) advance(state, rate, begin, part * Sub + i, b, x, delta);
#pragma unroll
                    for (int j = 0; j < PerLane; j++) states[i][j] = state[j];
                }
#pragma unroll
                for (int i = Sub - 1; i >= 0; i--) {
                    const int k = part * Sub + i;
                    const bool start = begin + k < a.length && starts(begin + k);
                    const float step = delta[k * Channels + own], input = x[k * Channels + own], dOutput = dy[k * Channels + own];
                    float output = 0, dInput = 0, dStep = 0;
#pragma unroll
                    for (int j = 0; j < PerLane; j++) {
                        const float keys = b[k * Padded + j * Lanes + lane], before = start ? 0.f : i ? states[i ? i - 1 : 0][j] : middle[part][j];
                        const float decay = exp2_approximate(step * rate[j] * log2_e), dState = carry[j] + dOutput * c[k * Padded + j * Lanes + lane];
                        const float throughDecay = dState * decay * before;
                        output += states[i][j] * c[k * Padded + j * Lanes + lane];
                        dInput += dState * keys;
                        dStep += throughDecay * rate[j];
                        dRate[j] += throughDecay * step;
                        carry[j] = start ? 0.f : dState * decay;
                        float forB = dState * step * input, forC = dOutput * states[i][j];
#pragma unroll
                        for (int offset = Lanes; offset < 32; offset *= 2) { forB += from_lane_xor(forB, offset); forC += from_lane_xor(forC, offset); }
                        if (threadIdx.x % 32 < Lanes) {
                            dB[(warp * Sub + i) * Padded + j * Lanes + lane] = forB;
                            dC[(warp * Sub + i) * Padded + j * Lanes + lane] = forC;
                        }
                    }
                    output = lane_sum(output, Lanes); dInput = lane_sum(dInput, Lanes); dStep = lane_sum(dStep, Lanes);
                    if (lane == 0) {
                        y[k * Channels + own] = output;
                        dx[k * Channels + own] = step * dInput;
                        dDelta[k * Channels + own] = dStep + dInput * input;
                    }
                }
                __syncthreads();
                const i64 slice = blockIdx.x % a.blocksPerGroup;
                for (int i = threadIdx.x; i < Sub * Padded; i += 128) {
                    const i64 t = begin + part * Sub + i / Padded, n = i % Padded;
                    if (t >= a.length || n >= a.states) continue;
                    const i64 at = (((slice * a.batch + row) * a.length + t) * a.groups + group) * a.states + n;
                    a.dB[at] = dB[i] + dB[Sub * Padded + i] + dB[2 * Sub * Padded + i] + dB[3 * Sub * Padded + i];
                    a.dC[at] = dC[i] + dC[Sub * Padded + i] + dC[2 * Sub * Padded + i] + dC[3 * Sub * Padded + i];
                }
                __syncthreads();
            }
            for (int i = threadIdx.x; i < Tile * Channels; i += 128) {
                const i64 t = begin + i / Channels, channel = first + i % Channels, at = (row * a.length + t) * a.channels + channel;
                if (t >= a.length || i % Channels >= count) continue;
                const bool there = t < valid;
                const float skip = a.skip ? a.skip[channel] : 0.f, dStep = dDelta[i] * slope[i];
                a.dX.set(at, there ? dx[i] + skip * dy[i] : 0.f);
                a.dTimeStep.set(at, there ? dStep : 0.f);
                if (there) { dSkip += dy[i] * x[i]; dBias += dStep; }
                if (a.gate.base) {
                    float value = 0;
                    if (there) {
                        const float gate = a.gate[row * a.gateRow + t * a.gateToken + channel];
                        value = a.gradient[row * a.gradientRow + t * a.gradientToken + channel] * (y[i] + skip * x[i]) * silu_slope(gate, sigmoid(gate));
                    }
                    a.dGate.set(at, value);
                }
            }
            __syncthreads();
        }
#pragma unroll
        for (int j = 0; j < PerLane; j++)
            if (holds(j)) {
                a.dA[row * a.channels * a.states + place(j)] = dRate[j];
                if (a.dInitial) a.dInitial[row * a.channels * a.states + place(j)] = carry[j];
            }
        shared[threadIdx.x] = dSkip;
        shared[128 + threadIdx.x] = dBias;
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < count) {
            float skips = 0, biases = 0;
            for (int i = threadIdx.x; i < 128; i += Channels) { skips += shared[i]; biases += shared[128 + i]; }
            a.dSkip[row * a.channels + first + threadIdx.x] = skips;
            a.dBias[row * a.channels + first + threadIdx.x] = biases;
        }
    }

    __device__ __forceinline__ void advance(float (&state)[PerLane], const float (&rate)[PerLane], i64 begin, int i, const float* b, const float* x, const float* delta) const {
        const bool start = starts(begin + i);
        const float step = delta[i * Channels + own], added = step * x[i * Channels + own];
#pragma unroll
        for (int j = 0; j < PerLane; j++)
            state[j] = (start ? 0.f : exp2_approximate(step * rate[j] * log2_e) * state[j]) + added * b[i * Padded + j * Lanes + lane];
    }
};

template <int Lanes, int PerLane> __device__ __forceinline__ void scan_forward(const ScanArguments& a) { Scan<Lanes, PerLane>(a).forward(); }
template <int Lanes, int PerLane> __device__ __forceinline__ void scan_backward(const ScanArguments& a) { Scan<Lanes, PerLane>(a).backward(); }

#define SCAN(padded, ...) \
    KERNEL(scan_forward_##padded, 128, ScanArguments, scan_forward<__VA_ARGS__>) \
    KERNEL(scan_backward_##padded, 128, ScanArguments, scan_backward<__VA_ARGS__>)

SCAN(4, 4, 1)
SCAN(16, 4, 4)
SCAN(32, 8, 4)
SCAN(64, 16, 4)
SCAN(128, 32, 4)
SCAN(256, 32, 8)
