// The selective scan: h = exp(delta a) h + delta x b, y = (h c + skip x) silu(gate), and its gradients.
//
// How it is cut. A warp takes `Channels` neighbouring channels of one row and walks its tokens in order, a tile of `Tile` tokens at a time. A thread holds, in
// registers, the states of K channels times J states; S lanes next to each other share a channel's S * J states, the 32 / S groups of such lanes hold different channels.
// So b and c are read once for K channels and delta and delta x once for J states; what is summed over states goes over S lanes, what is summed over channels over
// 32 / S lanes, both by halving exchanges (`reduce_scatter`), K * J products for about one shuffle each. A block is 4 warps that share b and c.
// What lives where. Raw inputs come by asynchronous copies, one tile ahead, 16 bytes at a time where they lie so. delta, delta x, b and c of a tile stand in shared
// memory as float32, made once. At a document's start the exponent gets -1e30, so that the decay is 0 without a branch; past a row's end delta is 0.
// Forward leaves the states at each tile's start where gradients are wanted. Backward walks the tiles from the last: states at every Sub tokens are made again (in
// shared memory), then states and decays of Sub tokens in registers, then these are walked back. Gradients of b and c are summed over the block's channels in a
// fixed order and written once a block, to be added up over blocks.
//
// Limits on one H200 at 8 x 8192 tokens x 4096 channels x 16 states, bfloat16: bytes forward 0.50 ms (x, delta, gate in, y out), backward 0.87 ms; special
// functions 1.4 ms forward (an exponential a state, 4 a channel), 2.5 ms backward; instructions 1.1 ms forward (7.7 a state), 3.4 ms backward (about 25).
#include "common.cuh"

#ifndef SCAN_POLYNOMIAL                              // of the K * J exponentials of a thread and token, how many are taken as polynomials
#define SCAN_POLYNOMIAL 0
#endif
#ifndef SCAN_BACKWARD_POLYNOMIAL
#define SCAN_BACKWARD_POLYNOMIAL 0
#endif

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
    int softplus, wide;                              // wide: every tensor of activations has the kernel's type and can be copied in pieces of `Piece` bytes
};

template <class E, int K, int J, int S, int Tile, int Sub> struct Scan {
    static constexpr int Warps = 4, Threads = 32 * Warps, Padded = J * S, Groups = 32 / S, Channels = Groups * K;
    static constexpr int Batch = K < 4 ? 4 / K : 1, Sums = Batch * K;             // tokens whose sums over states are taken together
    static constexpr int Piece = Channels * sizeof(E) < 16 ? static_cast<int>(Channels * sizeof(E)) : 16, PerPiece = Piece / sizeof(E);
    static constexpr int StatePiece = Padded * sizeof(E) < 16 ? static_cast<int>(Padded * sizeof(E)) : 16, PerStatePiece = StatePiece / sizeof(E);
    static constexpr int Quad = Channels < 4 ? Channels : 4, Quads = Channels / Quad, Rows = 32 / Quads;   // outside the walk: a lane takes Quad channels of every Rows-th token
    static constexpr int Steps = Rows < Tile ? Tile / Rows : 1;
    static constexpr int Fold = Padded >= 128 ? Sub : Tile;                       // tokens whose gradients of b and c are gathered before they are summed over warps
    static constexpr int Values = 2 * J, Own = Values > Groups ? Values / Groups : 1;                      // of b's and c's gradients; what a lane holds of them after the exchange
    static constexpr int Cell = Tile * Channels;
    static constexpr bool Float = sizeof(E) == 4;
    static_assert(Tile % Sub == 0 && Sub % Batch == 0 && Fold % Sub == 0 && 32 % Quads == 0, "tiles");

    const ScanArguments& a;
    i64 row, group, first, valid, tiles;             // the warp's channels are first to first + count - 1; count may be 0
    int count, warp, lane, s, own;                   // this thread's channels are own to own + K - 1 of the warp's, its states s * J to s * J + J - 1

    __device__ __forceinline__ explicit Scan(const ScanArguments& arguments) : a(arguments) {
        warp = threadIdx.x / 32, lane = threadIdx.x % 32, s = lane % S, own = lane / S * K;
        const i64 perGroup = a.channels / a.groups;
        group = blockIdx.x / a.blocksPerGroup;
        row = blockIdx.y;
        first = group * perGroup + (blockIdx.x % a.blocksPerGroup * Warps + warp) * Channels;
        const i64 left = (group + 1) * perGroup - first;
        count = left < 0 ? 0 : left < Channels ? static_cast<int>(left) : Channels;
        valid = a.length;
        if (a.lengths) valid = a.lengths[row];
        tiles = (a.length + Tile - 1) / Tile;
    }

    __device__ __forceinline__ bool holds(int k, int j) const { return own + k < count && s * J + j < a.states; }

    __device__ __forceinline__ i64 place(int k, int j) const { return (first + own + k) * a.states + s * J + j; }

    // tokens [begin, begin + Tile) of `Columns` neighbours as they lie in memory; zeros past the row's end and past `columns`
    template <int Columns, int Bytes> __device__ __forceinline__ void copy(E* to, const Typed& from, i64 base, i64 token, i64 begin, i64 columns, int thread, int threads) const {
        constexpr int Each = Bytes / sizeof(E);
        if (!Float || a.wide)
            for (int e = thread; e < Tile * Columns / Each; e += threads) {
                const int i = e / (Columns / Each), column = e % (Columns / Each) * Each;
                const bool there = begin + i < valid && column < columns;
                copy_async<Bytes>(to + e * Each, static_cast<const E*>(from.base) + (there ? base + (begin + i) * token + column : 0), there);
            }
        else
            for (int e = thread; e < Tile * Columns; e += threads) {
                const int i = e / Columns, column = e % Columns;
                to[e] = from_float<E>(begin + i < valid && column < columns ? from[base + (begin + i) * token + column] : 0.f);
            }
    }

    __device__ __forceinline__ void copy_channels(E* to, const Typed& from, i64 rowStride, i64 token, i64 begin) const {
        copy<Channels, Piece>(to, from, row * rowStride + first, token, begin, count, lane, 32);
    }

    // b and c of a tile, by the whole block
    __device__ __forceinline__ void copy_states(E* to, i64 begin) const {
        const i64 token = a.groups * a.states, base = row * a.length * token + group * a.states;
        copy<Padded, StatePiece>(to, a.b, base, token, begin, a.states, threadIdx.x, Threads);
        copy<Padded, StatePiece>(to + Tile * Padded, a.c, base, token, begin, a.states, threadIdx.x, Threads);
    }

    // the same as float32; and what the exponent gets at each token: 0, or so little that nothing stays
    __device__ __forceinline__ void widen_states(const E* from, float* to, float* cut, i64 begin) const {
        constexpr int V = PerStatePiece;
        for (int e = threadIdx.x * V; e < 2 * Tile * Padded; e += Threads * V) {
            float values[V];
            load<E, V>(from, e, values);
#pragma unroll
            for (int i = 0; i < V; i++) to[e + i] = values[i];
        }
        if (static_cast<int>(threadIdx.x) < Tile) {
            const i64 t = begin + threadIdx.x;
            cut[threadIdx.x] = a.starts && t < a.length && a.starts[row * a.length + t] ? -1e30f : 0.f;
        }
    }

    // a channel's number, 0 past the channels and where there is none
    __device__ __forceinline__ void load_parameter(const float* from, float (&values)[Quad]) const {
#pragma unroll
        for (int q = 0; q < Quad; q++) {
            const int channel = lane % Quads * Quad + q;
            values[q] = from && channel < count ? from[first + channel] : 0.f;
        }
    }

    // delta and delta x of a tile
    __device__ __forceinline__ void steps(const E* x, const E* raw, const float (&bias)[Quad], float* delta, float* added, i64 begin) const {
#pragma unroll
        for (int n = 0; n < Steps; n++) {
            const int i = n * Rows + lane / Quads;
            if (Rows > Tile && i >= Tile) continue;
            const int at = i * Channels + lane % Quads * Quad;
            float inputs[Quad], values[Quad];
            load<E, Quad>(x, at, inputs);
            load<E, Quad>(raw, at, values);
#pragma unroll
            for (int q = 0; q < Quad; q++) {
                values[q] += bias[q];
                if (a.softplus) values[q] = softplus(values[q]);
                if (begin + i >= valid) values[q] = 0;
                inputs[q] *= values[q];
            }
            store<float, Quad>(delta, at, values);
            store<float, Quad>(added, at, inputs);
        }
    }

    __device__ __forceinline__ void write(const TypedOutput& to, i64 at, int column, const float (&values)[Quad]) const {
        if (!Float || a.wide) store<E, Quad>(to.base, at, values);
        else
#pragma unroll
            for (int q = 0; q < Quad; q++)
                if (column + q < count) to.set(at + q, values[q]);
    }

    template <int N> __device__ __forceinline__ static void read(const float* from, float (&values)[N]) {
        if constexpr (N % 4 == 0)
#pragma unroll
            for (int i = 0; i < N; i += 4) {
                const Raw<float, 4> four = load_raw<float, 4>(from, i);
#pragma unroll
                for (int j = 0; j < 4; j++) values[i + j] = four[j];
            }
        else load<float, N>(from, 0, values);
    }

    template <int Polynomial> __device__ __forceinline__ static float decayed(int at, float exponent) {
        return at < Polynomial ? exp2_polynomial(exponent) : exp2_approximate(exponent);
    }

    // the index, among V values, of the first that this lane holds after reduce_scatter over `lanes` lanes of which it is number `number`
    template <int V> __device__ __forceinline__ static int scattered(int number, int lanes) { return V >= lanes ? number * (V / lanes) : number / (lanes / V); }

    // a sum over states for each of the Batch tokens from i on and each of the K channels, to where it belongs
    __device__ __forceinline__ void gather(float (&sums)[Sums], float* to, int i) const {
        reduce_scatter<Sums, S / 2, 1>(sums, lane);
        const int at = scattered<Sums>(s, S);
        if (Sums >= S || s % (S / (Sums < S ? Sums : S)) == 0)
#pragma unroll
            for (int n = 0; n < (Sums > S ? Sums / S : 1); n++) to[(i + (at + n) / K) * Channels + own + (at + n) % K] = sums[n];
    }

    static constexpr int forward_shared() { return static_cast<int>(2 * (2 * Tile * Padded + Warps * 3 * Cell) * sizeof(E) + (2 * Tile * Padded + Tile + Warps * 3 * Cell) * sizeof(float)); }

    __device__ __forceinline__ void forward() const {
        DYNAMIC_SHARED(float, shared);
        float *states = shared, *b = states, *c = b + Tile * Padded, *cut = c + Tile * Padded, *delta = cut + Tile + warp * 3 * Cell, *added = delta + Cell, *y = added + Cell;
        E* raw = reinterpret_cast<E*>(cut + Tile + Warps * 3 * Cell);
        constexpr int Stage = 2 * Tile * Padded + Warps * 3 * Cell;
        const auto fetch = [&](i64 tile) {
            E *at = raw + tile % 2 * Stage, *own = at + 2 * Tile * Padded + warp * 3 * Cell;
            copy_states(at, tile * Tile);
            copy_channels(own, a.x, a.xRow, a.xToken, tile * Tile);
            copy_channels(own + Cell, a.timeStep, a.stepRow, a.stepToken, tile * Tile);
            if (a.gate.base) copy_channels(own + 2 * Cell, a.gate, a.gateRow, a.gateToken, tile * Tile);
            copy_commit();
        };
        float state[K][J], rate[K][J], bias[Quad], skip[Quad];
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) {
                rate[k][j] = holds(k, j) ? a.a[place(k, j)] * log2_e : 0.f;
                state[k][j] = holds(k, j) && a.initial ? a.initial[row * a.channels * a.states + place(k, j)] : 0.f;
            }
        load_parameter(a.bias, bias);
        load_parameter(a.skip, skip);
        fetch(0);
        for (i64 tile = 0; tile < tiles; tile++) {
            const i64 begin = tile * Tile;
            if (tile + 1 < tiles) { fetch(tile + 1); copy_wait<1>(); } else copy_wait<0>();
            const E *at = raw + tile % 2 * Stage, *x = at + 2 * Tile * Padded + warp * 3 * Cell, *gate = x + 2 * Cell;
            __syncthreads();
            widen_states(at, states, cut, begin);
            steps(x, x + Cell, bias, delta, added, begin);
            if (a.saved) save(a.saved + (row * tiles + tile) * a.channels * a.states, state);
            __syncthreads();
#pragma unroll 2
            for (int i = 0; i < Tile; i += Batch) {
                float sums[Sums];
#pragma unroll
                for (int r = 0; r < Batch; r++) {
                    float bs[J], cs[J], ds[K], as[K];
                    const float cutoff = cut[i + r];
                    read<J>(b + (i + r) * Padded + s * J, bs);
                    read<J>(c + (i + r) * Padded + s * J, cs);
                    read<K>(delta + (i + r) * Channels + own, ds);
                    read<K>(added + (i + r) * Channels + own, as);
#pragma unroll
                    for (int k = 0; k < K; k++) {
                        float sum = 0;
#pragma unroll
                        for (int j = 0; j < J; j++) {
                            state[k][j] = decayed<SCAN_POLYNOMIAL>(k * J + j, ds[k] * rate[k][j] + cutoff) * state[k][j] + as[k] * bs[j];
                            sum += state[k][j] * cs[j];
                        }
                        sums[r * K + k] = sum;
                    }
                }
                gather(sums, y, i);
            }
            sync_warp();
#pragma unroll
            for (int n = 0; n < Steps; n++) {
                const int i = n * Rows + lane / Quads;
                if (Rows > Tile && i >= Tile) continue;
                const int column = lane % Quads * Quad, cell = i * Channels + column;
                const i64 t = begin + i;
                if (t >= a.length || column >= count) continue;
                float values[Quad], other[Quad];
                load<float, Quad>(y, cell, values);
                load<E, Quad>(x, cell, other);
#pragma unroll
                for (int q = 0; q < Quad; q++) values[q] += skip[q] * other[q];
                if (a.gate.base) {
                    load<E, Quad>(gate, cell, other);
#pragma unroll
                    for (int q = 0; q < Quad; q++) values[q] *= other[q] * sigmoid(other[q]);
                }
#pragma unroll
                for (int q = 0; q < Quad; q++)
                    if (t >= valid) values[q] = 0;
                write(a.output, (row * a.length + t) * a.channels + first + column, column, values);
            }
            sync_warp();                                                        // before the raw inputs are overwritten
        }
        save(a.final + row * a.channels * a.states, state);
    }

    // this thread's states; a whole piece of J in one access where it is whole
    __device__ __forceinline__ void save(float* to, const float (&state)[K][J]) const {
#pragma unroll
        for (int k = 0; k < K; k++) {
            if constexpr (J == 4)
                if (a.states == Padded) {
                    if (own + k < count) store<float, J>(to, place(k, 0), state[k]);
                    continue;
                }
#pragma unroll
            for (int j = 0; j < J; j++)
                if (holds(k, j)) to[place(k, j)] = state[k][j];
        }
    }

    __device__ __forceinline__ void restore(const float* from, float (&state)[K][J]) const {
#pragma unroll
        for (int k = 0; k < K; k++) {
#pragma unroll
            for (int j = 0; j < J; j++) state[k][j] = 0;
            if constexpr (J == 4)
                if (a.states == Padded) {
                    if (own + k < count) load<float, J>(from, place(k, 0), state[k]);
                    continue;
                }
#pragma unroll
            for (int j = 0; j < J; j++)
                if (holds(k, j)) state[k][j] = from[place(k, j)];
        }
    }

    static constexpr int backward_shared() {
        return static_cast<int>(2 * (2 * Tile * Padded + Warps * 4 * Cell) * sizeof(E) + (2 * Tile * Padded + Tile + Warps * (4 * Cell + Tile / Sub * K * J * 32 + 2 * Fold * Padded)) * sizeof(float));
    }

    __device__ __forceinline__ void backward() const {
        DYNAMIC_SHARED(float, shared);
        constexpr int PerWarp = 4 * Cell + Tile / Sub * K * J * 32, Stage = 2 * Tile * Padded + Warps * 4 * Cell;
        float *states = shared, *b = states, *c = b + Tile * Padded, *cut = c + Tile * Padded, *delta = cut + Tile + warp * PerWarp;
        float *added = delta + Cell, *dy = added + Cell, *dStep = dy + Cell, *starts = dStep + Cell;           // added becomes the gradient by delta x, dy becomes y
        float* folded = cut + Tile + Warps * PerWarp;                                                          // (warps, Fold, b and c, Padded)
        E* raw = reinterpret_cast<E*>(folded + Warps * 2 * Fold * Padded);
        const auto fetch = [&](i64 tile) {
            E *at = raw + tile % 2 * Stage, *own = at + 2 * Tile * Padded + warp * 4 * Cell;
            copy_states(at, tile * Tile);
            copy_channels(own, a.x, a.xRow, a.xToken, tile * Tile);
            copy_channels(own + Cell, a.timeStep, a.stepRow, a.stepToken, tile * Tile);
            copy_channels(own + 2 * Cell, a.gradient, a.gradientRow, a.gradientToken, tile * Tile);
            if (a.gate.base) copy_channels(own + 3 * Cell, a.gate, a.gateRow, a.gateToken, tile * Tile);
            copy_commit();
        };
        float rate[K][J], carry[K][J], dRate[K][J], bias[Quad], skip[Quad], dSkip[Quad], dBias[Quad];          // carry: the gradient of the state, from what follows
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) {
                rate[k][j] = holds(k, j) ? a.a[place(k, j)] * log2_e : 0.f;
                carry[k][j] = holds(k, j) && a.finalGradient ? a.finalGradient[row * a.channels * a.states + place(k, j)] : 0.f;
                dRate[k][j] = 0;
            }
        load_parameter(a.bias, bias);
        load_parameter(a.skip, skip);
#pragma unroll
        for (int q = 0; q < Quad; q++) dSkip[q] = dBias[q] = 0;
        fetch(tiles - 1);
        for (i64 tile = tiles - 1; tile >= 0; tile--) {
            const i64 begin = tile * Tile;
            const E *at = raw + tile % 2 * Stage, *x = at + 2 * Tile * Padded + warp * 4 * Cell, *gradient = x + 2 * Cell, *gate = x + 3 * Cell;
            float state[K][J];
            restore(a.saved + (row * tiles + tile) * a.channels * a.states, state);
            if (tile > 0) { fetch(tile - 1); copy_wait<1>(); } else copy_wait<0>();
            __syncthreads();
            widen_states(at, states, cut, begin);
            steps(x, x + Cell, bias, delta, added, begin);
#pragma unroll
            for (int n = 0; n < Steps; n++) {
                const int i = n * Rows + lane / Quads;
                if (Rows > Tile && i >= Tile) continue;
                const int cell = i * Channels + lane % Quads * Quad;
                float values[Quad], other[Quad];
                load<E, Quad>(gradient, cell, values);
                if (a.gate.base) {
                    load<E, Quad>(gate, cell, other);
#pragma unroll
                    for (int q = 0; q < Quad; q++) values[q] *= other[q] * sigmoid(other[q]);
                }
                store<float, Quad>(dy, cell, values);
            }
            __syncthreads();
            for (int part = 0;; part++) {                                       // the states before each part of Sub tokens
#pragma unroll
                for (int k = 0; k < K; k++)
#pragma unroll
                    for (int j = 0; j < J; j++) starts[((part * K + k) * J + j) * 32 + lane] = state[k][j];
                if (part == Tile / Sub - 1) break;
#pragma unroll
                for (int r = 0; r < Sub; r++) {
                    const int i = part * Sub + r;
                    float bs[J], ds[K], as[K];
                    const float cutoff = cut[i];
                    read<J>(b + i * Padded + s * J, bs);
                    read<K>(delta + i * Channels + own, ds);
                    read<K>(added + i * Channels + own, as);
#pragma unroll
                    for (int k = 0; k < K; k++)
#pragma unroll
                        for (int j = 0; j < J; j++)
                            state[k][j] = decayed<SCAN_BACKWARD_POLYNOMIAL>(k * J + j, ds[k] * rate[k][j] + cutoff) * state[k][j] + as[k] * bs[j];
                }
            }
            for (int part = Tile / Sub - 1; part >= 0; part--) {
                float history[Sub + 1][K][J], decay[Sub][K][J];                 // history[r + 1] is the state after token r of the part
#pragma unroll
                for (int k = 0; k < K; k++)
#pragma unroll
                    for (int j = 0; j < J; j++) history[0][k][j] = starts[((part * K + k) * J + j) * 32 + lane];
#pragma unroll
                for (int r = 0; r < Sub; r++) {
                    const int i = part * Sub + r;
                    float bs[J], ds[K], as[K];
                    const float cutoff = cut[i];
                    read<J>(b + i * Padded + s * J, bs);
                    read<K>(delta + i * Channels + own, ds);
                    read<K>(added + i * Channels + own, as);
#pragma unroll
                    for (int k = 0; k < K; k++)
#pragma unroll
                        for (int j = 0; j < J; j++) {
                            decay[r][k][j] = decayed<SCAN_BACKWARD_POLYNOMIAL>(k * J + j, ds[k] * rate[k][j] + cutoff);
                            history[r + 1][k][j] = decay[r][k][j] * history[r][k][j] + as[k] * bs[j];
                        }
                }
#pragma unroll
                for (int batch = Sub / Batch - 1; batch >= 0; batch--) {
                    float outputs[Sums], inputs[Sums], stepSums[Sums];
#pragma unroll
                    for (int in = Batch - 1; in >= 0; in--) {
                        const int r = batch * Batch + in, i = part * Sub + r;
                        float bs[J], cs[J], ds[K], as[K], dys[K], forStates[Values];
                        read<J>(b + i * Padded + s * J, bs);
                        read<J>(c + i * Padded + s * J, cs);
                        read<K>(delta + i * Channels + own, ds);
                        read<K>(added + i * Channels + own, as);
                        read<K>(dy + i * Channels + own, dys);
#pragma unroll
                        for (int v = 0; v < Values; v++) forStates[v] = 0;
#pragma unroll
                        for (int k = 0; k < K; k++) {
                            float output = 0, input = 0, stepSum = 0;
#pragma unroll
                            for (int j = 0; j < J; j++) {
                                const float dState = dys[k] * cs[j] + carry[k][j];
                                output += history[r + 1][k][j] * cs[j];
                                input += dState * bs[j];
                                forStates[j] += dState * as[k];
                                forStates[J + j] += dys[k] * history[r + 1][k][j];
                                carry[k][j] = dState * decay[r][k][j];
                                const float through = carry[k][j] * history[r][k][j];
                                stepSum += through * rate[k][j];
                                dRate[k][j] += through * ds[k];
                            }
                            outputs[in * K + k] = output; inputs[in * K + k] = input; stepSums[in * K + k] = stepSum;
                        }
                        reduce_scatter<Values, 16, S>(forStates, lane);
                        const int at = scattered<Values>(lane / S, Groups);
                        if (Values >= Groups || lane / S % (Groups / (Values < Groups ? Values : Groups)) == 0)
#pragma unroll
                            for (int n = 0; n < Own; n++)
                                folded[((warp * Fold + i % Fold) * 2 + (at + n) / J) * Padded + s * J + (at + n) % J] = forStates[n];
                    }
                    sync_warp();                                               // delta x and dy of these tokens have been read by all
                    gather(outputs, dy, part * Sub + batch * Batch);
                    gather(inputs, added, part * Sub + batch * Batch);
                    gather(stepSums, dStep, part * Sub + batch * Batch);
                }
                if (part * Sub % Fold == 0) {
                    __syncthreads();
                    const i64 slice = blockIdx.x % a.blocksPerGroup;
                    for (int e = threadIdx.x; e < 2 * Fold * Padded; e += Threads) {
                        const i64 t = begin + part * Sub + e / (2 * Padded), n = e % Padded;
                        if (t >= a.length || n >= a.states) continue;
                        float sum = folded[e];
#pragma unroll
                        for (int w = 1; w < Warps; w++) sum += folded[w * 2 * Fold * Padded + e];
                        (e / Padded % 2 ? a.dC : a.dB)[(((slice * a.batch + row) * a.length + t) * a.groups + group) * a.states + n] = sum;
                    }
                    if (Fold < Tile) __syncthreads();
                }
            }
            sync_warp();
#pragma unroll 1
            for (int i = lane / Quads; i < Tile; i += Rows) {
                const int column = lane % Quads * Quad, cell = i * Channels + column;
                const i64 t = begin + i, place = (row * a.length + t) * a.channels + first + column;
                if (t >= a.length || column >= count) continue;
                float xs[Quad], steps[Quad], dys[Quad], ds[Quad], ys[Quad], dInputs[Quad], dSteps[Quad], result[Quad];
                load<E, Quad>(x, cell, xs);
                load<E, Quad>(x + Cell, cell, steps);
                load<E, Quad>(gradient, cell, dys);
                load<float, Quad>(delta, cell, ds);
                load<float, Quad>(dy, cell, ys);
                load<float, Quad>(added, cell, dInputs);
                load<float, Quad>(dStep, cell, dSteps);
                if (a.gate.base) {
                    float gates[Quad];
                    load<E, Quad>(gate, cell, gates);
#pragma unroll
                    for (int q = 0; q < Quad; q++) {
                        const float open = sigmoid(gates[q]);
                        result[q] = t < valid ? dys[q] * (ys[q] + skip[q] * xs[q]) * silu_slope(gates[q], open) : 0.f;
                        dys[q] *= gates[q] * open;
                    }
                    write(a.dGate, place, column, result);
                }
#pragma unroll
                for (int q = 0; q < Quad; q++) {
                    result[q] = ds[q] * dInputs[q] + skip[q] * dys[q];
                    dSkip[q] += dys[q] * xs[q];
                }
                write(a.dX, place, column, result);
#pragma unroll
                for (int q = 0; q < Quad; q++) {
                    dSteps[q] = dSteps[q] / log2_e + dInputs[q] * xs[q];        // the rates were in powers of two
                    if (a.softplus) dSteps[q] *= sigmoid(steps[q] + bias[q]);
                    if (t >= valid) dSteps[q] = 0;
                    dBias[q] += dSteps[q];
                }
                write(a.dTimeStep, place, column, dSteps);
            }
            sync_warp();                                                        // before the raw inputs are overwritten
        }
        save(a.dA + row * a.channels * a.states, dRate);
        if (a.dInitial) save(a.dInitial + row * a.channels * a.states, carry);
#pragma unroll
        for (int q = 0; q < Quad; q++) {
#pragma unroll
            for (int offset = 16; offset >= Quads; offset /= 2) {
                dSkip[q] += from_lane_xor(dSkip[q], offset);
                dBias[q] += from_lane_xor(dBias[q], offset);
            }
            const int channel = lane % Quads * Quad + q;
            if (lane < Quads && channel < count) {
                a.dSkip[row * a.channels + first + channel] = dSkip[q];
                a.dBias[row * a.channels + first + channel] = dBias[q];
            }
        }
    }
};

template <class E, int K, int J, int S, int Tile, int Sub> __device__ __forceinline__ void scan_forward(const ScanArguments& a) { Scan<E, K, J, S, Tile, Sub>(a).forward(); }
template <class E, int K, int J, int S, int Tile, int Sub> __device__ __forceinline__ void scan_backward(const ScanArguments& a) { Scan<E, K, J, S, Tile, Sub>(a).backward(); }

#define SCAN(shape, K, J, S, Tile, Sub) \
    KERNEL(scan_forward_##shape##_bfloat16, 128, ScanArguments, scan_forward<bfloat16, K, J, S, Tile, Sub>) \
    KERNEL(scan_forward_##shape##_float32, 128, ScanArguments, scan_forward<float, K, J, S, Tile, Sub>) \
    KERNEL(scan_backward_##shape##_bfloat16, 128, ScanArguments, scan_backward<bfloat16, K, J, S, Tile, Sub>) \
    KERNEL(scan_backward_##shape##_float32, 128, ScanArguments, scan_backward<float, K, J, S, Tile, Sub>)

// the host has the same numbers
SCAN(4, 1, 4, 1, 16, 4)
SCAN(16, 4, 4, 4, 16, 4)
SCAN(16_few, 1, 4, 4, 16, 8)                         // for few channels: a quarter of the work a thread, four times the threads
SCAN(32, 4, 4, 8, 16, 4)
SCAN(64, 4, 4, 16, 16, 4)
SCAN(128, 4, 4, 32, 16, 4)
SCAN(256, 2, 8, 32, 16, 4)
