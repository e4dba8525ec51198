// The selective scan: h = exp(delta a) h + delta x b, y = (h c + skip x) silu(gate), and its gradients.
//
// How it is cut. A warp takes `Channels` neighbouring channels of one row and walks its tokens in order, a tile of `Tile` tokens at a time. A thread holds, in
// registers, the states of K channels times J states; S lanes next to each other share a channel's S * J states, the 32 / S groups of such lanes hold different channels.
// So b and c are read once for K channels and delta and delta x once for J states; what is summed over states goes over S lanes, what is summed over channels over
// 32 / S lanes, both by halving exchanges (`reduce_scatter`), K * J products for about one shuffle each. A block is 4 warps that share b and c.
// What lives where. Raw inputs come by asynchronous copies, one tile ahead, 16 bytes at a time where they lie so. delta, delta x, b and c of a tile stand in shared
// memory as float32, made once. At a document's start the exponent gets -1e30, so that the decay is 0 without a branch; past a row's end delta is 0.
// Where there are too few channels for the card, rows are cut into chunks that are walked side by side: first each by itself from a state of zeros, then these are joined
// (the decay over a chunk is one exponential of a times the sum of its steps), then the walk proper. Backward likewise, from the other end.
// Forward leaves the states at each tile's start where gradients are wanted. Backward walks the tiles from the last: states at every Sub tokens are made again (in
// shared memory), then states and decays of Sub tokens in registers, then these are walked back. Gradients of b and c are summed over the block's channels in a
// fixed order and written once a block, to be added up over blocks.
//
// Limits on one H200 at 8 x 8192 tokens x 4096 channels x 16 states, bfloat16: bytes forward 0.50 ms (x, delta, gate in, y out), backward 0.87 ms; special
// functions 1.4 ms forward (an exponential a state, 4 a channel), 2.5 ms backward; instructions 1.1 ms forward (7.7 a state), 4.5 ms backward (about 32).
// Reached: 2.05 ms forward, 6.5 ms backward. docs/kernels-log.md tells what was tried.
#include "common.cuh"

#ifndef SCAN_POLYNOMIAL                              // of the K * J exponentials of a thread and token, how many are taken as polynomials
#define SCAN_POLYNOMIAL 0
#endif
#ifndef SCAN_UNROLL
#define SCAN_UNROLL 1
#endif
#ifndef SCAN_RESULTS                                 // cells of a thread whose results backward makes together
#define SCAN_RESULTS 1
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
    float *dA, *dB, *dC, *dSkip, *dBias, *dInitial;  // (batch, chunks, channels, states), (blocks of a group, batch, length, groups, states) twice, (batch, chunks, channels) twice, like final
    float *chunkStates, *chunkSteps;                 // (batch, chunks, channels, states), (batch, chunks, channels), where a row is cut into chunks; else null
    i64 length, channels, groups, states, blocksPerGroup, batch, chunks, chunkTiles;
    i64 xRow, xToken, stepRow, stepToken, gateRow, gateToken, gradientRow, gradientToken;
    int softplus, wide;                              // wide: every tensor of activations has the kernel's type and can be copied in pieces of `Piece` bytes
};

template <class E, int K, int J, int S, int Tile, int Sub> struct Scan {
    static constexpr int Warps = 4, Threads = 32 * Warps, Padded = J * S, Groups = 32 / S, Channels = Groups * K;
    static constexpr int Batch = K < 4 ? 4 / K : 1, Sums = Batch * K;             // tokens whose sums over states are taken together, backward; forward it is 4
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
    i64 row, group, first, valid, tiles;             // (tiles: of a row) the warp's channels are first to first + count - 1; count may be 0
    i64 chunk, firstTile, endTile;                   // this block's tiles
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
        chunk = blockIdx.z;
        firstTile = chunk * a.chunkTiles;
        endTile = firstTile + a.chunkTiles < tiles ? firstTile + a.chunkTiles : tiles;
    }

    // of the tensors with a part for each chunk
    __device__ __forceinline__ i64 part_of_row() const { return row * a.chunks + chunk; }

    __device__ __forceinline__ bool holds(int k, int j) const { return own + k < count && s * J + j < a.states; }

    __device__ __forceinline__ i64 place(int k, int j) const { return (first + own + k) * a.states + s * J + j; }

    // `left` tokens from `source` on, of `Columns` neighbours of which `columns` are there, as they lie in memory; zeros for the rest of the tile
    template <int Columns, int Bytes, int Threads> __device__ __forceinline__ void copy(E* to, const Typed& from, i64 source, i64 token, int left, int columns, int thread) const {
        constexpr int Each = Bytes / sizeof(E), Pieces = Columns / Each, Step = Pieces < Threads ? Threads / Pieces : 1;      // a thread keeps to its column
        static_assert(Pieces <= Threads, "a column a thread");
        if (!Float || a.wide) {
            const int i0 = thread / Pieces, column = thread % Pieces * Each;
            const E* at = static_cast<const E*>(from.base) + source + i0 * token + column;
#pragma unroll
            for (int n = 0; n < (Tile + Step - 1) / Step; n++) {
                const int i = n * Step + i0;
                if (Tile % Step != 0 && i >= Tile) continue;
                const bool there = i < left && column < columns;
                copy_async<Bytes>(to + i * Columns + column, there ? at + n * Step * token : static_cast<const E*>(from.base), there);
            }
        } else
            for (int e = thread; e < Tile * Columns; e += Threads) {
                const int i = e / Columns, column = e % Columns;
                to[e] = from_float<E>(i < left && column < columns ? from[source + i * token + column] : 0.f);
            }
    }

    // tokens of the tile that begins there
    __device__ __forceinline__ int left_of(i64 begin) const { return valid - begin < Tile ? valid < begin ? 0 : static_cast<int>(valid - begin) : Tile; }

    __device__ __forceinline__ void copy_channels(E* to, const Typed& from, i64 rowStride, i64 token, i64 begin, int left) const {
        copy<Channels, Piece, 32>(to, from, row * rowStride + begin * token + first, token, left, count, lane);
    }

    // b and c of a tile, by the whole block
    __device__ __forceinline__ void copy_states(E* to, i64 begin, int left) const {
        const i64 token = a.groups * a.states, source = (row * a.length + begin) * token + group * a.states;
        const int states = static_cast<int>(a.states);
        copy<Padded, StatePiece, Threads>(to, a.b, source, token, left, states, threadIdx.x);
        copy<Padded, StatePiece, Threads>(to + Tile * Padded, a.c, source, token, left, states, threadIdx.x);
    }

    // the same as float32; and what the exponent gets at each token: 0, or so little that nothing stays
    __device__ __forceinline__ void widen_states(const E* from, float* to, float* cut, i64 begin) const {
        constexpr int V = PerStatePiece < 4 ? PerStatePiece : 4;
#pragma unroll
        for (int n = 0; n < (2 * Tile * Padded + Threads * V - 1) / (Threads * V); n++) {
            const int e = (n * Threads + threadIdx.x) * V;
            if (2 * Tile * Padded % (Threads * V) != 0 && e >= 2 * Tile * Padded) continue;
            float values[V];
            load<E, V>(from, e, values);
            store<float, V>(to, e, values);
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

    // delta and delta x of a tile; all cells of a thread together, so that one's latency hides behind the others
    __device__ __forceinline__ void steps(const E* x, const E* raw, const float (&bias)[Quad], float* delta, float* added, int left) const {
        float values[Steps][Quad];
#pragma unroll
        for (int n = 0; n < Steps; n++) {
            load<E, Quad>(raw, cell(n), values[n]);
#pragma unroll
            for (int q = 0; q < Quad; q++) values[n][q] += bias[q];
        }
        if (a.softplus)
#pragma unroll
            for (int n = 0; n < Steps; n++)
#pragma unroll
                for (int q = 0; q < Quad; q++) values[n][q] = softplus(values[n][q]);
#pragma unroll
        for (int n = 0; n < Steps; n++) {
            float inputs[Quad];
            load<E, Quad>(x, cell(n), inputs);
#pragma unroll
            for (int q = 0; q < Quad; q++) {
                if (token(n) >= left) values[n][q] = 0;
                inputs[q] *= values[n][q];
            }
            if (Rows > Tile && token(n) >= Tile) continue;
            store<float, Quad>(delta, cell(n), values[n]);
            store<float, Quad>(added, cell(n), inputs);
        }
    }

    // outside the walk: a lane's n-th token of a tile and the place of its channels there (of the last token, where it has none)
    __device__ __forceinline__ int token(int n) const { return n * Rows + lane / Quads; }

    __device__ __forceinline__ int cell(int n) const { return (Rows > Tile && token(n) >= Tile ? Tile - 1 : token(n)) * Channels + lane % Quads * Quad; }

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

    // a sum over states for each of Tokens tokens from i on and each of the K channels, to where it belongs
    template <int Tokens> __device__ __forceinline__ void gather(float (&sums)[Tokens * K], float* to, int i) const {
        constexpr int Sums = Tokens * K;
        reduce_scatter<Sums, S / 2, 1>(sums, lane);
        const int at = scattered<Sums>(s, S);
        if (Sums >= S || s % (S / (Sums < S ? Sums : S)) == 0)
#pragma unroll
            for (int n = 0; n < (Sums > S ? Sums / S : 1); n++) to[(i + (at + n) / K) * Channels + own + (at + n) % K] = sums[n];
    }

    // what the walk needs of a token; loaded before the results of the one before are stored, since stores hold loads back
    struct Operands { float bs[J], cs[J], ds[K], as[K], cutoff; };

    template <bool WithC> __device__ __forceinline__ void operands(Operands& to, const float* b, const float* c, const float* delta, const float* added, const float* cut, int i) const {
        read<J>(b + i * Padded + s * J, to.bs);
        if (WithC) read<J>(c + i * Padded + s * J, to.cs);
        read<K>(delta + i * Channels + own, to.ds);
        read<K>(added + i * Channels + own, to.as);
        to.cutoff = cut[i];
    }

    template <int Polynomial> __device__ __forceinline__ static void decays(const Operands& of, const float (&rate)[K][J], float (&to)[K][J]) {
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) to[k][j] = decayed<Polynomial>(k * J + j, of.ds[k] * rate[k][j] + of.cutoff);
    }

    static constexpr int forward_shared() { return static_cast<int>(2 * (2 * Tile * Padded + Warps * 3 * Cell) * sizeof(E) + (2 * Tile * Padded + Tile + Warps * 3 * Cell) * sizeof(float)); }

    __device__ __forceinline__ void forward() const {
        DYNAMIC_SHARED(float, shared);
        float *states = shared, *b = states, *c = b + Tile * Padded, *cut = c + Tile * Padded, *delta = cut + Tile + warp * 3 * Cell, *added = delta + Cell, *y = added + Cell;
        E* raw = reinterpret_cast<E*>(cut + Tile + Warps * 3 * Cell);
        constexpr int Stage = 2 * Tile * Padded + Warps * 3 * Cell;
        const auto fetch = [&](i64 tile) {
            E *at = raw + tile % 2 * Stage, *own = at + 2 * Tile * Padded + warp * 3 * Cell;
            const i64 begin = tile * Tile;
            const int left = left_of(begin);
            copy_states(at, begin, left);
            copy_channels(own, a.x, a.xRow, a.xToken, begin, left);
            copy_channels(own + Cell, a.timeStep, a.stepRow, a.stepToken, begin, left);
            if (a.gate.base) copy_channels(own + 2 * Cell, a.gate, a.gateRow, a.gateToken, begin, left);
            copy_commit();
        };
        float state[K][J], rate[K][J], bias[Quad], skip[Quad];
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) {
                rate[k][j] = holds(k, j) ? a.a[place(k, j)] * log2_e : 0.f;
                const float* from = a.chunkStates ? a.chunkStates + part_of_row() * a.channels * a.states : a.initial ? a.initial + row * a.channels * a.states : nullptr;
                state[k][j] = holds(k, j) && from ? from[place(k, j)] : 0.f;
            }
        load_parameter(a.bias, bias);
        load_parameter(a.skip, skip);
        fetch(firstTile);
        for (i64 tile = firstTile; tile < endTile; tile++) {
            const i64 begin = tile * Tile;
            if (tile + 1 < endTile) { fetch(tile + 1); copy_wait<1>(); } else copy_wait<0>();
            const E *at = raw + tile % 2 * Stage, *x = at + 2 * Tile * Padded + warp * 3 * Cell, *gate = x + 2 * Cell;
            __syncthreads();
            widen_states(at, states, cut, begin);
            steps(x, x + Cell, bias, delta, added, left_of(begin));
            if (a.saved) save(a.saved + (row * tiles + tile) * a.channels * a.states, state);
            __syncthreads();
#pragma unroll SCAN_UNROLL
            for (int i = 0; i < Tile; i += 4) {
                float sums[4 * K];
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    Operands now;
                    float decay[K][J];
                    operands<true>(now, b, c, delta, added, cut, i + r);
                    decays<SCAN_POLYNOMIAL>(now, rate, decay);
#pragma unroll
                    for (int k = 0; k < K; k++) {
                        float sum = 0;
#pragma unroll
                        for (int j = 0; j < J; j++) {
                            state[k][j] = decay[k][j] * state[k][j] + now.as[k] * now.bs[j];
                            sum += state[k][j] * now.cs[j];
                        }
                        sums[r * K + k] = sum;
                    }
                }
                gather<4>(sums, y, i);
            }
            sync_warp();
            float values[Steps][Quad];
#pragma unroll
            for (int n = 0; n < Steps; n++) {
                float inputs[Quad];
                load<float, Quad>(y, cell(n), values[n]);
                load<E, Quad>(x, cell(n), inputs);
#pragma unroll
                for (int q = 0; q < Quad; q++) values[n][q] += skip[q] * inputs[q];
            }
            if (a.gate.base)
#pragma unroll
                for (int n = 0; n < Steps; n++) {
                    float gates[Quad];
                    load<E, Quad>(gate, cell(n), gates);
#pragma unroll
                    for (int q = 0; q < Quad; q++) values[n][q] *= gates[q] * sigmoid(gates[q]);
                }
            const int column = lane % Quads * Quad, left = left_of(begin), rest = a.length - begin < Tile ? static_cast<int>(a.length - begin) : Tile;
            const i64 place = (row * a.length + begin + lane / Quads) * a.channels + first + column;
#pragma unroll
            for (int n = 0; n < Steps; n++) {
#pragma unroll
                for (int q = 0; q < Quad; q++)
                    if (token(n) >= left) values[n][q] = 0;
                if (token(n) < rest && column < count) write(a.output, place + n * Rows * a.channels, column, values[n]);
            }
            sync_warp();                                                        // before the raw inputs are overwritten
        }
        if (chunk == a.chunks - 1) save(a.final + row * a.channels * a.states, state);
    }

    // this thread's states; in pieces of up to four where none is missing
    __device__ __forceinline__ void save(float* to, const float (&state)[K][J]) const {
        constexpr int V = J < 4 ? J : 4;
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j += V) {
                float values[V];
#pragma unroll
                for (int v = 0; v < V; v++) values[v] = state[k][j + v];
                if (a.states == Padded) {
                    if (own + k < count) store<float, V>(to, place(k, j), values);
                } else
#pragma unroll
                    for (int v = 0; v < V; v++)
                        if (holds(k, j + v)) to[place(k, j + v)] = values[v];
            }
    }

    __device__ __forceinline__ void restore(const float* from, float (&state)[K][J]) const {
        constexpr int V = J < 4 ? J : 4;
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j += V) {
                float values[V];
#pragma unroll
                for (int v = 0; v < V; v++) values[v] = 0;
                if (a.states == Padded) {
                    if (own + k < count) load<float, V>(from, place(k, j), values);
                } else
#pragma unroll
                    for (int v = 0; v < V; v++)
                        if (holds(k, j + v)) values[v] = from[place(k, j + v)];
#pragma unroll
                for (int v = 0; v < V; v++) state[k][j + v] = values[v];
            }
    }

    // What a chunk adds by itself, from a state of zeros: forward the state at its end, backward (Reverse) the state's gradient at its start, from a gradient of zeros at
    // its end. And the sum of its steps, from which the decay over it follows; infinite where a document starts in it. By the threads and shared memory of forward.
    template <bool Reverse> __device__ __forceinline__ void local() const {
        if (chunk == (Reverse ? 0 : a.chunks - 1)) return;                      // nobody asks for it
        DYNAMIC_SHARED(float, shared);
        float *states = shared, *b = states, *c = b + Tile * Padded, *cut = c + Tile * Padded, *delta = cut + Tile + warp * 3 * Cell, *added = delta + Cell;
        E* raw = reinterpret_cast<E*>(cut + Tile + Warps * 3 * Cell);
        constexpr int Stage = 2 * Tile * Padded + Warps * 3 * Cell;
        const auto fetch = [&](i64 tile) {
            E *at = raw + tile % 2 * Stage, *own = at + 2 * Tile * Padded + warp * 3 * Cell;
            const i64 begin = tile * Tile;
            const int left = left_of(begin);
            copy_states(at, begin, left);
            copy_channels(own + Cell, a.timeStep, a.stepRow, a.stepToken, begin, left);
            if (!Reverse) copy_channels(own, a.x, a.xRow, a.xToken, begin, left);
            else {
                copy_channels(own, a.gradient, a.gradientRow, a.gradientToken, begin, left);
                if (a.gate.base) copy_channels(own + 2 * Cell, a.gate, a.gateRow, a.gateToken, begin, left);
            }
            copy_commit();
        };
        float state[K][J], rate[K][J], bias[Quad], sums[Quad];
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) {
                rate[k][j] = holds(k, j) ? a.a[place(k, j)] * log2_e : 0.f;
                state[k][j] = 0;
            }
        load_parameter(a.bias, bias);
#pragma unroll
        for (int q = 0; q < Quad; q++) sums[q] = 0;
        const i64 tilesHere = endTile - firstTile;
        fetch(Reverse ? endTile - 1 : firstTile);
        for (i64 n = 0; n < tilesHere; n++) {
            const i64 tile = Reverse ? endTile - 1 - n : firstTile + n, begin = tile * Tile;
            if (n + 1 < tilesHere) { fetch(Reverse ? tile - 1 : tile + 1); copy_wait<1>(); } else copy_wait<0>();
            const E *at = raw + tile % 2 * Stage, *x = at + 2 * Tile * Padded + warp * 3 * Cell;
            __syncthreads();
            widen_states(at, states, cut, begin);
            steps(x, x + Cell, bias, delta, added, left_of(begin));             // Reverse: x is dy, and is put in the place of delta x
            if (Reverse) gradients(x, x + 2 * Cell, added);
            __syncthreads();
#pragma unroll
            for (int n = 0; n < Steps; n++)
                if (Rows <= Tile || token(n) < Tile) {
                    float ds[Quad];
                    load<float, Quad>(delta, cell(n), ds);
#pragma unroll
                    for (int q = 0; q < Quad; q++) sums[q] += cut[token(n)] < 0 ? as_float(0x7f800000u) : ds[q];
                }
#pragma unroll 4
            for (int step = 0; step < Tile; step++) {
                const int i = Reverse ? Tile - 1 - step : step;
                Operands now;
                float decay[K][J];
                operands<Reverse>(now, b, c, delta, added, cut, i);
                decays<SCAN_POLYNOMIAL>(now, rate, decay);
#pragma unroll
                for (int k = 0; k < K; k++)
#pragma unroll
                    for (int j = 0; j < J; j++)
                        state[k][j] = Reverse ? decay[k][j] * (state[k][j] + now.as[k] * now.cs[j]) : decay[k][j] * state[k][j] + now.as[k] * now.bs[j];
            }
            sync_warp();                                                        // before the raw inputs are overwritten
        }
        save(a.chunkStates + part_of_row() * a.channels * a.states, state);
#pragma unroll
        for (int q = 0; q < Quad; q++) {
#pragma unroll
            for (int offset = 16; offset >= Quads; offset /= 2) sums[q] += from_lane_xor(sums[q], offset);
            const int channel = lane % Quads * Quad + q;
            if (lane < Quads && channel < count) a.chunkSteps[part_of_row() * a.channels + first + channel] = sums[q];
        }
    }

    // the gradient that comes to y, by the warp for a tile
    __device__ __forceinline__ void gradients(const E* gradient, const E* gate, float* dy) const {
        float values[Steps][Quad];
#pragma unroll
        for (int n = 0; n < Steps; n++) load<E, Quad>(gradient, cell(n), values[n]);
        if (a.gate.base)
#pragma unroll
            for (int n = 0; n < Steps; n++) {
                float gates[Quad];
                load<E, Quad>(gate, cell(n), gates);
#pragma unroll
                for (int q = 0; q < Quad; q++) values[n][q] *= gates[q] * sigmoid(gates[q]);
            }
#pragma unroll
        for (int n = 0; n < Steps; n++)
            if (Rows <= Tile || token(n) < Tile) store<float, Quad>(dy, cell(n), values[n]);
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
            const i64 begin = tile * Tile;
            const int left = left_of(begin);
            copy_states(at, begin, left);
            copy_channels(own, a.x, a.xRow, a.xToken, begin, left);
            copy_channels(own + Cell, a.timeStep, a.stepRow, a.stepToken, begin, left);
            copy_channels(own + 2 * Cell, a.gradient, a.gradientRow, a.gradientToken, begin, left);
            if (a.gate.base) copy_channels(own + 3 * Cell, a.gate, a.gateRow, a.gateToken, begin, left);
            copy_commit();
        };
        float rate[K][J], carry[K][J], dRate[K][J], bias[Quad], skip[Quad], dSkip[Quad], dBias[Quad];          // carry: the gradient of the state, from what follows
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) {
                rate[k][j] = holds(k, j) ? a.a[place(k, j)] * log2_e : 0.f;
                const float* from = a.chunkStates ? a.chunkStates + part_of_row() * a.channels * a.states : a.finalGradient ? a.finalGradient + row * a.channels * a.states : nullptr;
                carry[k][j] = holds(k, j) && from ? from[place(k, j)] : 0.f;
                dRate[k][j] = 0;
            }
        load_parameter(a.bias, bias);
        load_parameter(a.skip, skip);
#pragma unroll
        for (int q = 0; q < Quad; q++) dSkip[q] = dBias[q] = 0;
        fetch(endTile - 1);
        for (i64 tile = endTile - 1; tile >= firstTile; tile--) {
            const i64 begin = tile * Tile;
            const E *at = raw + tile % 2 * Stage, *x = at + 2 * Tile * Padded + warp * 4 * Cell, *gradient = x + 2 * Cell, *gate = x + 3 * Cell;
            float state[K][J];
            restore(a.saved + (row * tiles + tile) * a.channels * a.states, state);
            if (tile > firstTile) { fetch(tile - 1); copy_wait<1>(); } else copy_wait<0>();
            __syncthreads();
            widen_states(at, states, cut, begin);
            steps(x, x + Cell, bias, delta, added, left_of(begin));
            gradients(gradient, gate, dy);
            __syncthreads();
            for (int part = 0;; part++) {                                       // the states before each part of Sub tokens
#pragma unroll
                for (int k = 0; k < K; k++)
#pragma unroll
                    for (int j = 0; j < J; j++) starts[((part * K + k) * J + j) * 32 + lane] = state[k][j];
                if (part == Tile / Sub - 1) break;
#pragma unroll
                for (int r = 0; r < Sub; r++) {
                    Operands now;
                    float decay[K][J];
                    operands<false>(now, b, c, delta, added, cut, part * Sub + r);
                    decays<SCAN_BACKWARD_POLYNOMIAL>(now, rate, decay);
#pragma unroll
                    for (int k = 0; k < K; k++)
#pragma unroll
                        for (int j = 0; j < J; j++) state[k][j] = decay[k][j] * state[k][j] + now.as[k] * now.bs[j];
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
                    Operands now;
                    operands<false>(now, b, c, delta, added, cut, part * Sub + r);
                    decays<SCAN_BACKWARD_POLYNOMIAL>(now, rate, decay[r]);
#pragma unroll
                    for (int k = 0; k < K; k++)
#pragma unroll
                        for (int j = 0; j < J; j++) history[r + 1][k][j] = decay[r][k][j] * history[r][k][j] + now.as[k] * now.bs[j];
                }
                Operands now;
                float dys[K];
                operands<true>(now, b, c, delta, added, cut, part * Sub + Sub - 1);
                read<K>(dy + (part * Sub + Sub - 1) * Channels + own, dys);
#pragma unroll
                for (int batch = Sub / Batch - 1; batch >= 0; batch--) {
                    float outputs[Sums], inputs[Sums], stepSums[Sums];
#pragma unroll
                    for (int in = Batch - 1; in >= 0; in--) {
                        const int r = batch * Batch + in, i = part * Sub + r;
                        float forStates[Values];
#pragma unroll
                        for (int v = 0; v < Values; v++) forStates[v] = 0;
#pragma unroll
                        for (int k = 0; k < K; k++) {
                            float output = 0, input = 0, stepSum = 0;
#pragma unroll
                            for (int j = 0; j < J; j++) {
                                const float dState = dys[k] * now.cs[j] + carry[k][j];
                                output += history[r + 1][k][j] * now.cs[j];
                                input += dState * now.bs[j];
                                forStates[j] += dState * now.as[k];
                                forStates[J + j] += dys[k] * history[r + 1][k][j];
                                carry[k][j] = dState * decay[r][k][j];
                                const float through = carry[k][j] * history[r][k][j];
                                stepSum += through * rate[k][j];
                                dRate[k][j] += through * now.ds[k];
                            }
                            outputs[in * K + k] = output; inputs[in * K + k] = input; stepSums[in * K + k] = stepSum;
                        }
                        if (r > 0) {
                            operands<true>(now, b, c, delta, added, cut, i - 1);
                            read<K>(dy + (i - 1) * Channels + own, dys);
                        }
                        reduce_scatter<Values, 16, S>(forStates, lane);
                        const int at = scattered<Values>(lane / S, Groups);
                        if (Values >= Groups || lane / S % (Groups / (Values < Groups ? Values : Groups)) == 0)
#pragma unroll
                            for (int n = 0; n < Own; n++)
                                folded[((warp * Fold + i % Fold) * 2 + (at + n) / J) * Padded + s * J + (at + n) % J] = forStates[n];
                    }
                    sync_warp();                                                // delta x and dy of these tokens have been read by all
                    gather<Batch>(outputs, dy, part * Sub + batch * Batch);
                    gather<Batch>(inputs, added, part * Sub + batch * Batch);
                    gather<Batch>(stepSums, dStep, part * Sub + batch * Batch);
                }
                if (part * Sub % Fold == 0) {
                    __syncthreads();
                    const i64 slice = blockIdx.x % a.blocksPerGroup;
                    for (int e = threadIdx.x * 4; e < 2 * Fold * Padded; e += Threads * 4) {
                        const i64 t = begin + part * Sub + e / (2 * Padded), n = e % Padded;
                        if (t >= a.length || n >= a.states) continue;
                        float sum[4];
                        load<float, 4>(folded, e, sum);
#pragma unroll
                        for (int w = 1; w < Warps; w++) {
                            float more[4];
                            load<float, 4>(folded, w * 2 * Fold * Padded + e, more);
#pragma unroll
                            for (int v = 0; v < 4; v++) sum[v] += more[v];
                        }
                        float* to = (e / Padded % 2 ? a.dC : a.dB) + (((slice * a.batch + row) * a.length + t) * a.groups + group) * a.states + n;
                        if (a.states == Padded) store<float, 4>(to, 0, sum);
                        else
#pragma unroll
                            for (int v = 0; v < 4; v++)
                                if (n + v < a.states) to[v] = sum[v];
                    }
                    if (Fold < Tile) __syncthreads();
                }
            }
            sync_warp();
            const int column = lane % Quads * Quad, left = left_of(begin), rest = a.length - begin < Tile ? static_cast<int>(a.length - begin) : Tile;
            i64 place = (row * a.length + begin + lane / Quads) * a.channels + first + column;
#pragma unroll SCAN_RESULTS
            for (int n = 0; n < Steps; n++, place += Rows * a.channels) {
                const bool there = token(n) < rest && column < count, counts = token(n) < left && there;
                float xs[Quad], steps[Quad], dys[Quad], ds[Quad], ys[Quad], dInputs[Quad], dSteps[Quad], result[Quad];
                load<E, Quad>(x, cell(n), xs);
                load<E, Quad>(x + Cell, cell(n), steps);
                load<E, Quad>(gradient, cell(n), dys);
                load<float, Quad>(delta, cell(n), ds);
                load<float, Quad>(added, cell(n), dInputs);
                load<float, Quad>(dStep, cell(n), dSteps);
                if (a.gate.base) {
                    float gates[Quad];
                    load<E, Quad>(gate, cell(n), gates);
                    load<float, Quad>(dy, cell(n), ys);
#pragma unroll
                    for (int q = 0; q < Quad; q++) {
                        const float open = sigmoid(gates[q]);
                        result[q] = dys[q] * (ys[q] + skip[q] * xs[q]) * silu_slope(gates[q], open);   // past the row's end dy is 0
                        dys[q] *= gates[q] * open;
                    }
                    if (there) write(a.dGate, place, column, result);
                }
#pragma unroll
                for (int q = 0; q < Quad; q++) {
                    result[q] = ds[q] * dInputs[q] + skip[q] * dys[q];
                    dSkip[q] += counts ? dys[q] * xs[q] : 0.f;
                    dSteps[q] = dSteps[q] * (1 / log2_e) + dInputs[q] * xs[q];  // the rates were in powers of two
                }
                if (a.softplus)
#pragma unroll
                    for (int q = 0; q < Quad; q++) dSteps[q] *= sigmoid(steps[q] + bias[q]);
#pragma unroll
                for (int q = 0; q < Quad; q++) {
                    dSteps[q] = counts ? dSteps[q] : 0.f;
                    dBias[q] += dSteps[q];
                }
                if (there) {
                    write(a.dX, place, column, result);
                    write(a.dTimeStep, place, column, dSteps);
                }
            }
            sync_warp();                                                        // before the raw inputs are overwritten
        }
        save(a.dA + part_of_row() * a.channels * a.states, dRate);
        if (a.dInitial && chunk == 0) save(a.dInitial + row * a.channels * a.states, carry);
#pragma unroll
        for (int q = 0; q < Quad; q++) {
#pragma unroll
            for (int offset = 16; offset >= Quads; offset /= 2) {
                dSkip[q] += from_lane_xor(dSkip[q], offset);
                dBias[q] += from_lane_xor(dBias[q], offset);
            }
            const int channel = lane % Quads * Quad + q;
            if (lane < Quads && channel < count) {
                a.dSkip[part_of_row() * a.channels + first + channel] = dSkip[q];
                a.dBias[part_of_row() * a.channels + first + channel] = dBias[q];
            }
        }
    }
};

// Joins the chunks: what each adds by itself becomes what it begins with, forward the state, backward (Reverse) the state's gradient at its end.
template <bool Reverse> __device__ __forceinline__ void scan_join(const ScanArguments& a) {
    const i64 all = a.channels * a.states, at = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x, row = blockIdx.y;
    if (at >= all) return;
    const float rate = a.a[at] * log2_e, *from = Reverse ? a.finalGradient : a.initial;
    float value = from ? from[row * all + at] : 0.f;
    for (i64 n = 0; n < a.chunks; n++) {
        const i64 chunk = Reverse ? a.chunks - 1 - n : n, part = row * a.chunks + chunk;
        if (n == a.chunks - 1) {
            a.chunkStates[part * all + at] = value;
            break;
        }
        const float own = a.chunkStates[part * all + at], steps = a.chunkSteps[part * a.channels + at / a.states];
        a.chunkStates[part * all + at] = value;
        value = (steps == as_float(0x7f800000u) ? 0.f : exp2_approximate(rate * steps) * value) + own;
    }
}

KERNEL(scan_join_forward, 128, ScanArguments, scan_join<false>)
KERNEL(scan_join_backward, 128, ScanArguments, scan_join<true>)

template <class E, int K, int J, int S, int Tile, int Sub> __device__ __forceinline__ void scan_forward(const ScanArguments& a) { Scan<E, K, J, S, Tile, Sub>(a).forward(); }
template <class E, int K, int J, int S, int Tile, int Sub, bool Reverse> __device__ __forceinline__ void scan_local(const ScanArguments& a) { Scan<E, K, J, S, Tile, Sub>(a).template local<Reverse>(); }
template <class E, int K, int J, int S, int Tile, int Sub> __device__ __forceinline__ void scan_backward(const ScanArguments& a) { Scan<E, K, J, S, Tile, Sub>(a).backward(); }

// Blocks a multiprocessor is to hold, forward and backward: that bounds the registers
#define SCAN_OF(shape, type, E, K, J, S, Tile, Sub, Blocks, BackwardBlocks) \
    KERNEL_OF(scan_forward_##shape##_##type, 128, Blocks, ScanArguments, scan_forward<E, K, J, S, Tile, Sub>) \
    KERNEL_OF(scan_backward_##shape##_##type, 128, BackwardBlocks, ScanArguments, scan_backward<E, K, J, S, Tile, Sub>) \
    KERNEL_OF(scan_local_forward_##shape##_##type, 128, Blocks, ScanArguments, scan_local<E, K, J, S, Tile, Sub, false>) \
    KERNEL_OF(scan_local_backward_##shape##_##type, 128, Blocks, ScanArguments, scan_local<E, K, J, S, Tile, Sub, true>)

// shape: channels and states of a thread, lanes of a channel, tile, part of a tile, blocks forward and backward; the host has the same numbers
#define SCAN_SHAPE_4 1, 4, 1, 16, 4, 2, 2
#define SCAN_SHAPE_16 2, 8, 2, 16, 4, 2, 2
#define SCAN_SHAPE_32 2, 8, 4, 16, 4, 2, 2
#define SCAN_SHAPE_64 2, 8, 8, 16, 4, 2, 2
#define SCAN_SHAPE_128 2, 8, 16, 16, 4, 2, 2
#define SCAN_SHAPE_256 2, 8, 32, 16, 4, 2, 2
#define SCAN_ALL(...) SCAN_OF(__VA_ARGS__)           // arguments take their values first
#define SCAN_JOINED(left, right) left##right
#define SCAN_SHAPE_OF(shape) SCAN_JOINED(SCAN_SHAPE_, shape)

#ifdef SCAN_SHAPE                                    // the host asks for one shape and type: the compiler is at work while the user waits
SCAN_ALL(SCAN_SHAPE, SCAN_TYPE, SCAN_ELEMENT, SCAN_SHAPE_OF(SCAN_SHAPE))
#else
#define SCAN(shape) \
    SCAN_ALL(shape, bfloat16, bfloat16, SCAN_SHAPE_OF(shape)) \
    SCAN_ALL(shape, float32, float, SCAN_SHAPE_OF(shape))
SCAN(4)
SCAN(16)
SCAN(32)
SCAN(64)
SCAN(128)
SCAN(256)
#endif
