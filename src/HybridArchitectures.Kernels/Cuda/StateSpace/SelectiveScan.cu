// The selective scan: h = exp(delta a) h + delta x b, y = (h c + skip x) silu(gate), and its gradients.
//
// How it is cut. A warp takes `Channels` neighbouring channels of one row and walks its tokens in order, four at a time; a tile of `Tile` tokens is
// what is copied at once. A thread holds, in registers, the states of K channels times J states; S lanes next to each other share a channel's S * J
// states, the 32 / S groups of such lanes hold different channels. So b and c are read once for K channels and delta and delta x once for J states;
// what is summed over states goes over S lanes, what is summed over channels over 32 / S lanes, both by halving exchanges, K * J products for about
// one shuffle each. A block is 4 warps that share b and c. What lives where. Raw inputs come by asynchronous copies, 16 bytes at a time where they
// lie so. b and c of a tile and delta and delta x stand in shared memory as float32, made once. At a document's start the exponent gets -1e30, so
// that the decay is 0 without a branch; past a row's end delta is 0. A multiprocessor holds only 8 such warps, two for each of its schedulers. They
// hide each other's latencies only where each has much to do at any time: forward, all that is done for a tile is one stretch of instructions without
// a branch (see `walk`), for which the host compiles gate, softplus and documents in or out. Where there are too few channels for the GPU, rows are
// cut into chunks that are walked side by side, in two launches that fill the GPU alike: in the first, the walk proper of the first chunk and, at the
// same time, each chunk but the last by itself from a state of zeros; then these are joined (the decay over a chunk is one exponential of a times the
// sum of its steps); then the walk proper of all chunks but the first. Backward likewise, from the other end. Forward, up to 16 states of not too few
// channels are taken by SelectiveScanFewChannels.cu instead, which leaves the same states. Forward leaves the states at each tile's start where
// gradients are wanted. Backward walks the tiles from the last: states at every Sub tokens are made again (in shared memory), then states and decays
// of Sub tokens in registers, then these are walked back. Gradients of b and c are summed over the block's channels in a fixed order and written once
// a block, to be added up over blocks.
//
// Limits on one H100 at 8 x 8192 tokens x 4096 channels x 16 states, bfloat16: bytes forward 0.64 ms (x, delta, gate in, y out), backward 1.1 ms;
// special functions
// 1.26 ms forward (an exponential a state, 3 a channel), 2.3 ms backward; instructions 1.1 ms forward (8.2 a state), 3.6 ms backward (27). Registers
// come from two banks, one operand a cycle each: a multiply-add of three different ones takes 1.5 cycles, which makes 1.0 to 1.4 ms forward, 2.7 to
// 3.9 ms in backward's walks. Reached: 1.58 ms forward, 5.3 ms backward, which holds all 255 registers: what can be recomputed is not kept.
// lab/kernels-log.md lists the attempts.
#include "SelectiveScan.cuh"

// groups of four tokens that forward takes in one stretch of instructions; in float32 one, whose exponentials fill as much
#ifndef SCAN_UNROLL
#define SCAN_UNROLL 4
#endif
// and a chunk by itself, which shares a multiprocessor's cache of instructions with the walk proper
#ifndef SCAN_LOCAL_UNROLL
#define SCAN_LOCAL_UNROLL 2
#endif

// The same number, of which the compiler knows nothing: what is made of it is made where it stands, not kept in registers from before a loop.
__device__ __forceinline__ int opaque(int value) {
#ifndef HYBRID_EMULATION
    asm volatile("mov.b32 %0, %0;" : "+r"(value));
#endif
    return value;
}

template <class E, int K, int J, int S, int Tile, int Sub> struct Scan {
    static constexpr int Warps = 4, Threads = 32 * Warps, Padded = J * S, Groups = 32 / S, Channels = Groups * K;
    static constexpr int Piece = Channels * sizeof(E) < 16 ? static_cast<int>(Channels * sizeof(E)) : 16;
    static constexpr int StatePiece = Padded * sizeof(E) < 16 ? static_cast<int>(Padded * sizeof(E)) : 16, PerStatePiece = StatePiece / sizeof(E);
    // tokens whose gradients of b and c are gathered before they are summed over warps
    static constexpr int Fold = Padded >= 128 ? Sub : Tile;
    static constexpr int Cell = Tile * Channels, Slot = 32 * K * J;               // a warp's share of an input in a tile, its states
    static constexpr bool Float = sizeof(E) == 4;
    static constexpr float Raise = Float ? 0.f : decay_raise;
    static_assert(Tile % 8 == 0 && Sub == 4 && J <= 8, "tiles");

    const ScanArguments& a;
    i64 row, group, first, valid, tiles;             // (tiles: of a row) the warp's channels are first to first + count - 1; count may be 0
    i64 chunk, place, firstTile, endTile;            // this block's chunk, its number in the order of the walk, its tiles
    i64 warpsOfRow, warpOfRow;
    int count, warp, lane, s, own;                   // this thread's channels are own to own + K - 1 of the warp's, its states s * J to s * J + J - 1

    // reverse: the walk begins at the row's end
    __device__ __forceinline__ Scan(const ScanArguments& arguments, bool reverse) : a(arguments) {
        warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        // what follows from it is kept, not recomputed from the thread's number
        if (!reverse) lane = static_cast<int>(as_bits(from_lane_xor(as_float(lane), 0)));
        s = lane % S, own = lane / S * K;
        const i64 perGroup = a.channels / a.groups;
        group = blockIdx.x / a.blocksPerGroup;
        row = blockIdx.y;
        first = group * perGroup + (blockIdx.x % a.blocksPerGroup * Warps + warp) * Channels;
        const i64 left = (group + 1) * perGroup - first, warpsOfGroup = (perGroup + Channels - 1) / Channels;
        warpsOfRow = a.groups * warpsOfGroup;
        warpOfRow = group * warpsOfGroup + blockIdx.x % a.blocksPerGroup * Warps + warp;
        count = left < 0 ? 0 : left < Channels ? static_cast<int>(left) : Channels;
        valid = a.length;
        if (a.lengths) valid = a.lengths[row];
        tiles = (a.length + Tile - 1) / Tile;
        place = a.launch == 2 ? blockIdx.z + 1 : blockIdx.z;
        chunk = reverse ? a.chunks - 1 - place : place;
        const i64 from = place == 0 ? 0 : a.leadTiles + (place - 1) * a.chunkTiles, least = from + (place == 0 ? a.leadTiles : a.chunkTiles),
            to = least < tiles ? least : tiles;
        firstTile = reverse ? tiles - to : from;
        endTile = reverse ? tiles - from : to;
    }

    // where the states at a tile's start are kept
    __device__ __forceinline__ i64 saved_at(i64 tile) const { return ((row * tiles + tile) * warpsOfRow + warpOfRow) * Slot; }

    // the i-th of a thread's states among them
    __device__ __forceinline__ int in_slot(int i) const { return (i / 4 * 32 + lane) * 4 + i % 4; }

    // of the tensors with a part for each chunk
    __device__ __forceinline__ i64 part_of_row() const { return row * a.chunks + chunk; }

    __device__ __forceinline__ bool holds(int k, int j) const { return own + k < count && s * J + j < a.states; }

    __device__ __forceinline__ i64 state_at(int k, int j) const { return (first + own + k) * a.states + s * J + j; }

    // `left` tokens from `source` on, of `Columns` neighbours of which `columns` are there, of any type, one by one; zeros for the rest of the tile
    template <int Columns, int Threads> __device__ __forceinline__ static void copy(
        E* to, const Typed& from, i64 source, i64 token, int left, int columns, int thread) {
        for (int e = thread; e < Tile * Columns; e += Threads) {
            const int i = e / Columns, column = e % Columns;
            to[e] = from_float<E>(i < left && column < columns ? from[source + i * token + column] : 0.f);
        }
    }

    // tokens of the tile that begins there
    __device__ __forceinline__ int left_of(
        i64 begin) const { return valid - begin < Tile ? valid < begin ? 0 : static_cast<int>(valid - begin) : Tile; }

    // tokens of the row from `begin` on, as far as two tiles tell them apart
    __device__ __forceinline__ int ahead_of(i64 begin) const {
        const i64 left = valid - begin;
        return static_cast<int>(left > 2 * Tile ? 2 * Tile : left < -2 * Tile ? -2 * Tile : left);
    }

    __device__ __forceinline__ void copy_channels(E* to, const Typed& from, i64 rowStride, i64 token, i64 begin, int left) const {
        copy<Channels, 32>(to, from, row * rowStride + begin * token + first, token, left, count, lane);
    }

    // b and c of a tile, by the whole block
    __device__ __forceinline__ void copy_states(E* to, i64 begin, int left) const {
        const i64 token = a.groups * a.states, source = (row * a.length + begin) * token + group * a.states;
        const int states = static_cast<int>(a.states);
        copy<Padded, Threads>(to, a.b, source, token, left, states, threadIdx.x);
        copy<Padded, Threads>(to + Tile * Padded, a.c, source, token, left, states, threadIdx.x);
    }

    // b and c as float32, `Copies` times `CopyStride` apart: in the x-th, four neighbours change places as their numbers xor 4 / Copies x say. And
    // what the exponent gets at each token: Raise, or so little that nothing stays.
    template <int Copies> __device__ __forceinline__ void widen_states(const E* from, float* to, float* cut, i64 begin) const {
        constexpr int V = PerStatePiece < 4 ? PerStatePiece : 4;
        static_assert(V == 4, "fours");
#pragma unroll
        for (int n = 0; n < (2 * Tile * Padded + Threads * V - 1) / (Threads * V); n++) {
            const int e = (n * Threads + threadIdx.x) * V;
            if (2 * Tile * Padded % (Threads * V) != 0 && e >= 2 * Tile * Padded) continue;
            float values[V];
            load<E, V>(from, e, values);
#pragma unroll
            for (int x = 0; x < Copies; x++) {
                float swapped[V];
#pragma unroll
                for (int v = 0; v < V; v++) swapped[v] = values[v ^ x * (4 / Copies)];
                store<float, V>(to, x * CopyStride + e, swapped);
            }
        }
        if (SCAN_DOCUMENTS && static_cast<int>(threadIdx.x) < Tile) {
            const i64 t = begin + threadIdx.x;
            cut[threadIdx.x] = t >= 0 && t < a.length && a.starts[row * a.length + t] ? -1e30f : Raise;
        }
    }

    // results of V channels from `column` on, at the V elements of a tensor that `to` would point at if it had type E
    template <int V> __device__ __forceinline__ void write(const TypedOutput& output, E* to, bool there, int column, const float (&values)[V]) const {
        if (!Float || a.wide) store_where<E, V>(there, to, values);
        else if (there)
#pragma unroll
            for (int v = 0; v < V; v++)
                if (column + v < count) output.set(to - static_cast<E*>(output.base) + v, values[v]);
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

    __device__ __forceinline__ void cuts_of(const float* from, float (&cutoff)[4]) const {
#pragma unroll
        for (int r = 0; r < 4; r++) cutoff[r] = Raise;
        if (SCAN_DOCUMENTS) read<4>(from, cutoff);
    }

    // the index, among V values, of the first that this lane holds after reduce_scatter over `lanes` lanes of which it is number `number`
    template <int V> __device__ __forceinline__ static int scattered(
        int number, int lanes) { return V >= lanes ? number * (V / lanes) : number / (lanes / V); }

    // ---- forward, and the pass ahead of it that takes each chunk by itself ---- Tokens are taken in groups of four. Besides its states a lane has
    // `Cells` of a group's 4 * Channels values to care for, those whose sums over states reach it: V neighbouring channels from `column` on, of the
    // tokens line, line + Apart ..., `Lines` of them.
    static constexpr int Cells = 4 * K > S ? 4 * K / S : 1, V = Cells < K ? Cells : K, Lines = Cells / V, Apart = 4 / Lines;
    // delta and delta x of a token; lanes that write two tokens at once meet no bank twice
    static constexpr int GroupRow = 2 * Channels + (S > 1 ? 16 : 0);
    static constexpr int PerWarp = 2 * 4 * GroupRow, WarpStage = 3 * Cell, BlockStage = 2 * Tile * Padded;

    __device__ __forceinline__ void multiply_by_gate(const E* gate, int line, int column, float (&values)[Lines][V]) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) {
            float gates[V];
            load<E, V>(gate, (line + l * Apart) * Channels + column, gates);
#pragma unroll
            for (int v = 0; v < V; v++) values[l][v] *= gates[v] * sigmoid<E>(gates[v]);
        }
    }

    // the gradient that comes to y; x lies before it by two tensors, the gate after it
    __device__ __forceinline__ void gated(const E* x, int line, int column, float (&values)[Lines][V]) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) load<E, V>(x + 2 * Cell, (line + l * Apart) * Channels + column, values[l]);
        if (SCAN_GATED) multiply_by_gate(x + 3 * Cell, line, column, values);
    }

    // this lane's delta and delta x of a group (Reverse: and dy) and what lay there, from where the raw inputs of its first token lie
    template <bool Reverse> __device__ __forceinline__ void prepare(const E* x, const float (&bias)[V], int line, int column, int left,
        float (&ds)[Lines][V], float (&inputs)[Lines][V], float (&xs)[Lines][V]) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) {
            const int cell = (line + l * Apart) * Channels + column;
            load<E, V>(x + Cell, cell, ds[l]);
            load<E, V>(x, cell, xs[l]);
#pragma unroll
            for (int v = 0; v < V; v++) inputs[l][v] = xs[l][v];
        }
        if (Reverse && SCAN_GATED) multiply_by_gate(x + 2 * Cell, line, column, inputs);
#pragma unroll
        for (int l = 0; l < Lines; l++)
#pragma unroll
            for (int v = 0; v < V; v++) {
                ds[l][v] += bias[v];
                if (SCAN_SOFTPLUS) ds[l][v] = Float ? softplus<E>(ds[l][v]) : softplus_polynomial(ds[l][v]);
                if (line + l * Apart >= left) ds[l][v] = 0;
                if (!Reverse) inputs[l][v] *= ds[l][v];
            }
    }

    __device__ __forceinline__ void hand_over(const float (&ds)[Lines][V], const float (&inputs)[Lines][V], float* to, int line, int column) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) {
            float* row = to + (line + l * Apart) * GroupRow + lane / S * 2 * K;
            if constexpr (V == K) {
                float both[2 * K];
#pragma unroll
                for (int k = 0; k < K; k++) both[k] = ds[l][k], both[K + k] = inputs[l][k];
                store<float, 2 * K>(row, 0, both);
            } else {
                row[column - own] = ds[l][0];
                row[K + column - own] = inputs[l][0];
            }
        }
    }

    // A tile of `Columns` columns copied in pieces of a number of bytes; where a thread's first piece lies in it
    template <int Columns, int Bytes, int Threads> struct Pieces {
        // a thread keeps to its column
        static constexpr int Each = Bytes / sizeof(E), Wide = Columns / Each, Step = Threads / Wide < Tile ? Threads / Wide : Tile;
        static_assert(Wide <= Threads && Tile % Step == 0, "a column a thread");

        __device__ __forceinline__ static int line(int thread) { return thread / Wide; }
        __device__ __forceinline__ static int column(int thread) { return thread % Wide * Each; }

        // `left` lines are there
        __device__ __forceinline__ static void copy(E* to, const E* from, i64 token, int thread, int left) {
#pragma unroll
            for (int n = 0; n < Tile / Step; n++)
                if (Threads / Wide <= Tile || line(thread) < Tile)
                    copy_async<Bytes>(to + (n * Step + line(thread)) * Columns + column(thread), from + n * Step * token,
                        n * Step + line(thread) < left);
        }
    };
    using ChannelPieces = Pieces<Channels, Piece, 32>;
    using StatePieces = Pieces<Padded, StatePiece, Threads>;

    // b and c of two tiles and what the exponent gets there, delta and delta x of two groups a warp; then, as they lie in memory, b and c of two
    // tiles, the rest of three
    static constexpr int forward_shared() {
        return static_cast<int>((2 * BlockStage + Warps * 3 * WarpStage) * sizeof(E) + (2 * BlockStage + 2 * Tile + Warps * PerWarp) * sizeof(float));
    }

    // Everything that is not the walk is done during it, so that every stretch of the program has the same mix of instructions: while four tokens are
    // walked, delta and delta x of the next four are made and the results of the four before are finished. Copies run two tiles ahead, b and c are
    // made float32 one tile ahead. Local: only what a chunk adds by itself, from a state of zeros: forward the state at its end, backward (Reverse)
    // the state's gradient at its start, from a gradient of zeros at its end. And the sum of its steps, from which the decay over it follows; 1e30
    // and more where a document starts in it.
    template <bool Local, bool Reverse> __device__ __forceinline__ void walk() const {
        static_assert(Local || !Reverse, "backward has a separate walk");
        DYNAMIC_SHARED(float, shared);
        float *cuts = shared + 2 * BlockStage, *ring = cuts + 2 * Tile + warp * PerWarp;
        E *rawStates = reinterpret_cast<E*>(cuts + 2 * Tile + Warps * PerWarp), *raw = rawStates + 2 * BlockStage + warp * 3 * WarpStage;
        const int at = scattered<4 * K>(s, S), line = at / K / Lines, column = own + at % K, tilesHere = static_cast<int>(endTile - firstTile);
        const i64 stateToken = a.groups * a.states, firstBegin = (Reverse ? endTile - 1 : firstTile) * Tile, stride = Reverse ? -Tile : Tile;
        const Typed& input = Reverse ? a.gradient : a.x;
        const i64 inputRow = Reverse ? a.gradientRow : a.xRow, inputToken = Reverse ? a.gradientToken : a.xToken;

        const auto source = [&](const Typed& from, i64 rowStride, i64 token) {
            return static_cast<const E*>(from.base) + row * rowStride + (firstBegin + ChannelPieces::line(lane)) * token + first
                + ChannelPieces::column(lane);
        };
        const i64 stateSource = (row * a.length + firstBegin + StatePieces::line(threadIdx.x)) * stateToken + group * a.states
            + StatePieces::column(threadIdx.x);
        const E *fromInput = source(input, inputRow, inputToken), *fromStep = source(a.timeStep, a.stepRow, a.stepToken),
            *fromGate = source(a.gate, a.gateRow, a.gateToken);
        const E *fromB = static_cast<const E*>(a.b.base) + stateSource, *fromC = static_cast<const E*>(a.c.base) + stateSource;
        const bool hasColumn = ChannelPieces::column(lane) < count, hasState = StatePieces::column(threadIdx.x) < a.states;
        // the n-th tile; called in order. Past the last there are zeros: a tile is taken without a branch, and looks ahead.
        const auto fetch = [&](int n, E* to) {
            const i64 begin = firstBegin + n * stride;
            const int left = n < tilesHere ? left_of(begin) : 0;
            E* states = rawStates + n % 2 * BlockStage;
            if (!Float || a.wide) {
                const int lines = hasColumn ? left : 0, stateLines = hasState ? left : 0;
                if (!Local || !Reverse) StatePieces::copy(states, fromB, stateToken, threadIdx.x, stateLines);
                if (!Local || Reverse) StatePieces::copy(states + Tile * Padded, fromC, stateToken, threadIdx.x, stateLines);
                ChannelPieces::copy(to, fromInput, inputToken, lane, lines);
                ChannelPieces::copy(to + Cell, fromStep, a.stepToken, lane, lines);
                if (SCAN_GATED && (!Local || Reverse)) ChannelPieces::copy(to + 2 * Cell, fromGate, a.gateToken, lane, lines);
                fromB += stride * stateToken; fromC += stride * stateToken; fromInput += stride * inputToken; fromStep += stride * a.stepToken;
                fromGate += stride * a.gateToken;
            } else {
                copy_states(states, begin, left);
                copy_channels(to, input, inputRow, inputToken, begin, left);
                copy_channels(to + Cell, a.timeStep, a.stepRow, a.stepToken, begin, left);
                if (SCAN_GATED && (!Local || Reverse)) copy_channels(to + 2 * Cell, a.gate, a.gateRow, a.gateToken, begin, left);
            }
            copy_commit();
        };

        float state[K][J], rate[K][J], bias[V], skip[V], stepSums[K], cutSum = 0;
#pragma unroll
        for (int k = 0; k < K; k++) {
            stepSums[k] = 0;
#pragma unroll
            for (int j = 0; j < J; j++) {
                rate[k][j] = holds(k, j) ? a.a[state_at(k, j)] * log2_e : 0.f;
                const float* from = Local ? nullptr : place > 0 ? a.chunkStates + part_of_row() * a.channels * a.states : a.initial
                    ? a.initial + row * a.channels * a.states : nullptr;
                state[k][j] = holds(k, j) && from ? from[state_at(k, j)] : 0.f;
            }
        }
#pragma unroll
        for (int v = 0; v < V; v++) {
            bias[v] = a.bias && column + v < count ? a.bias[first + column + v] : 0.f;
            skip[v] = a.skip && column + v < count ? a.skip[first + column + v] : 0.f;
        }
        E *now = raw, *next = raw + WarpStage, *later = raw + 2 * WarpStage;
        fetch(0, now);
        fetch(1, next);
        copy_wait<1>();
        __syncthreads();
        widen_states<1>(rawStates, shared, cuts, firstBegin);
        const int startOfFirst = Reverse ? Tile - 4 : 0;                        // of a tile's first group
        float ds[Lines][V], inputs[Lines][V], xs[Lines][V];
        prepare<Reverse>(now + startOfFirst * Channels, bias, line, column, ahead_of(firstBegin) - startOfFirst, ds, inputs, xs);
        hand_over(ds, inputs, ring, line, column);
        // of the group before: sums over states, what is added to them (and to those after) and what they are multiplied by; and how many of its
        // tokens are to be written
        float sums[4 * K], added[Lines][V], addedNext[Lines][V], factor[Lines][V];
        int rest = 0;
        E* to = static_cast<E*>(a.output.base) + (row * a.length + firstBegin - 4 + line) * a.channels + first + column;
        const bool saves = a.saved && count > 0;
        float* saved = a.saved + saved_at(firstTile);
        const auto finish = [&] {
            reduce_scatter<4 * K, S / 2, 1>(sums, lane);
#pragma unroll
            for (int l = 0; l < Lines; l++) {
                float values[V];
#pragma unroll
                for (int v = 0; v < V; v++) values[v] = SCAN_GATED ? (sums[l * V + v] + added[l][v]) * factor[l][v] : sums[l * V + v] + added[l][v];
                write<V>(a.output, to + l * Apart * a.channels, line + l * Apart < rest, column, values);
            }
            to += 4 * a.channels;
        };
        if (!Local) {
#pragma unroll
            for (int i = 0; i < 4 * K; i++) sums[i] = 0;
#pragma unroll
            for (int l = 0; l < Lines; l++)
#pragma unroll
                for (int v = 0; v < V; v++) added[l][v] = factor[l][v] = 0, addedNext[l][v] = skip[v] * xs[l][v];
        }
        for (int n = 0; n < tilesHere; n++) {
            const i64 begin = firstBegin + n * stride;
            copy_wait<0>();
            __syncthreads();                                                    // the next tile is there, and nobody needs the one before
            fetch(n + 2, later);
            widen_states<1>(rawStates + (n + 1) % 2 * BlockStage, shared + (n + 1) % 2 * BlockStage, cuts + (n + 1) % 2 * Tile, begin + stride);
            if (!Local) {
#pragma unroll
                for (int i = 0; i < K * J; i += 4) {
                    const float four[4] = {state[i / J][i % J], state[i / J][i % J + 1], state[i / J][i % J + 2], state[i / J][i % J + 3]};
                    store_where<float, 4>(saves, saved + in_slot(i), four);
                }
                saved += warpsOfRow * Slot;
            }
            const float *b = shared + n % 2 * BlockStage + s * J, *c = b + Tile * Padded, *cut = cuts + n % 2 * Tile;
            const int left = ahead_of(begin);
            const int rows = column >= count ? 0 : a.length - begin < Tile ? static_cast<int>(a.length - begin) : Tile;
            constexpr int unrolled = Float ? 1 : Local ? SCAN_LOCAL_UNROLL : SCAN_UNROLL;
#pragma unroll unrolled
            for (int m = 0; m < Tile / 4; m++) {
                const int i = Reverse ? Tile - 4 - 4 * m : 4 * m, following = Reverse ? i - 4 : i + 4;
                const bool inside = m + 1 < Tile / 4;
                const float* group = ring + m % 2 * (4 * GroupRow) + lane / S * 2 * K;
                sync_warp();                                                    // what was prepared for this group is there
                if (!Local) finish();
                prepare<Reverse>(inside ? now + following * Channels : next + startOfFirst * Channels, bias, line, column,
                    inside ? left - following : left - (Reverse ? -Tile : Tile) - startOfFirst, ds, inputs, xs);
                if (!Local)
#pragma unroll
                    for (int l = 0; l < Lines; l++) {
                        float gates[V];
                        if (SCAN_GATED) load<E, V>(now + 2 * Cell, (i + line + l * Apart) * Channels + column, gates);
#pragma unroll
                        for (int v = 0; v < V; v++) {
                            added[l][v] = addedNext[l][v];
                            addedNext[l][v] = skip[v] * xs[l][v];
                            if (SCAN_GATED) factor[l][v] = gates[v] * sigmoid<E>(gates[v]);
                        }
                    }
                rest = rows - i;
                float cutoff[4];
                cuts_of(cut + i, cutoff);
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    const int r = Reverse ? 3 - q : q;
                    float bs[J], cs[J], steps[2 * K];
                    if (!Local || !Reverse) read<J>(b + (i + r) * Padded, bs);
                    if (!Local || Reverse) read<J>(c + (i + r) * Padded, cs);
                    read<2 * K>(group + r * GroupRow, steps);
#pragma unroll
                    for (int k = 0; k < K; k++) {
                        float sum = 0;
#pragma unroll
                        for (int j = 0; j < J; j++) {
                            const float decay = exp2_of<E>(steps[k] * rate[k][j] + cutoff[r]);
                            if (Reverse) state[k][j] = decay * (state[k][j] + steps[K + k] * cs[j]);
                            else state[k][j] = decay * state[k][j] + steps[K + k] * bs[j];
                            if (!Local) sum += state[k][j] * cs[j];
                        }
                        if (!Local) sums[(r % Apart * Lines + r / Apart) * K + k] = sum;
                        if (Local) stepSums[k] += steps[k];
                    }
                    if (Local) cutSum += Raise - cutoff[r];
                }
                hand_over(ds, inputs, ring + (m + 1) % 2 * (4 * GroupRow), line, column);                      // last, since no load passes a store
            }
            E* const done = now;
            now = next; next = later; later = done;
        }
        if (!Local) {
            finish();
            if (a.launch == 1) save(a.chunkStates + part_of_row() * a.channels * a.states, state);
            else if (blockIdx.z + 1 == gridDim.z) save(a.final + row * a.channels * a.states, state);
        } else {
            save(a.chunkStates + part_of_row() * a.channels * a.states, state);
#pragma unroll
            for (int k = 0; k < K; k++)
                if (s == 0 && own + k < count) a.chunkSteps[part_of_row() * a.channels + first + own + k] = stepSums[k] + cutSum;
        }
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
                    if (own + k < count) store<float, V>(to, state_at(k, j), values);
                } else
#pragma unroll
                    for (int v = 0; v < V; v++)
                        if (holds(k, j + v)) to[state_at(k, j + v)] = values[v];
            }
    }

    // ---- backward ---- Sums over a warp's channels go over its `Groups` groups of lanes, 2 J a token and lane. Each exchange halves what a lane
    // holds, so lanes must choose which half: a lane has none to choose if its j-th register holds the state of number j xor `turn`, where turn has
    // the bits of its group. Four neighbours of b and c in that order come from the copy that turn's lower bits name.
    static constexpr int log2_of(int n) { return n > 1 ? 1 + log2_of(n / 2) : 0; }
    static constexpr int TurnBits = log2_of(Groups) < log2_of(J) ? log2_of(Groups) : log2_of(J), Kept = J >> TurnBits,
        LeftGroups = Groups >> TurnBits;
    static constexpr int Copies = Kept == 1 ? 4 : Kept == 2 ? 2 : 1, CopyStride = BlockStage + 16;
    static constexpr int Parts = Tile / Sub, BackwardStage = 4 * Cell, Owned = 2 * Kept > LeftGroups ? 2 * Kept / LeftGroups : 1;
    static constexpr int BackwardPerWarp = Tile * GroupRow + Cell + Parts * Slot;

    static constexpr int backward_shared() {
        return static_cast<int>((2 * BlockStage + Warps * 2 * BackwardStage) * sizeof(E)
            + (Copies * CopyStride + Tile + Warps * (BackwardPerWarp + 2 * Fold * Padded)) * sizeof(float));
    }

    // What is left to do for a part that has been walked
    struct Finished {
        float outputs[Lines][V], inputs[Lines][V], stepSums[Lines][V], deltas[Lines][V];       // sums over states; delta
        const E* raw;
        int counted, rest;                                                      // its tokens in the row; those to be written
        i64 to;                                                                 // and where to; of the part after it
        float dSkip[V] = {}, dBias[V] = {};
    };

    __device__ __forceinline__ void finish(Finished& of, const float (&bias)[V], const float (&skip)[V], int line, int column) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) {
            const int token = line + l * Apart, cell = token * Channels + column;
            const i64 place = of.to + l * Apart * a.channels;
            const bool there = token < of.rest, counts = token < of.counted;
            float xs[V], steps[V], dys[V], result[V], dSteps[V];
            load<E, V>(of.raw, cell, xs);
            load<E, V>(of.raw + Cell, cell, steps);
            load<E, V>(of.raw + 2 * Cell, cell, dys);
            if (SCAN_GATED) {
                float gates[V];
                load<E, V>(of.raw + 3 * Cell, cell, gates);
#pragma unroll
                for (int v = 0; v < V; v++) {
                    const float open = sigmoid<E>(gates[v]);
                    result[v] = dys[v] * (of.outputs[l][v] + skip[v] * xs[v]) * silu_slope(gates[v], open);    // past the row's end dy is 0
                    dys[v] *= gates[v] * open;
                }
                write<V>(a.dGate, static_cast<E*>(a.dGate.base) + place, there, column, result);
            }
#pragma unroll
            for (int v = 0; v < V; v++) {
                result[v] = of.deltas[l][v] * of.inputs[l][v] + skip[v] * dys[v];
                of.dSkip[v] += counts ? dys[v] * xs[v] : 0.f;
                dSteps[v] = of.stepSums[l][v] * (1 / log2_e) + of.inputs[l][v] * xs[v];                        // the rates were in powers of two
                if (SCAN_SOFTPLUS) dSteps[v] *= sigmoid<E>(steps[v] + bias[v]);
                dSteps[v] = counts ? dSteps[v] : 0.f;
                of.dBias[v] += dSteps[v];
            }
            write<V>(a.dX, static_cast<E*>(a.dX.base) + place, there, column, result);
            write<V>(a.dTimeStep, static_cast<E*>(a.dTimeStep.base) + place, there, column, dSteps);
        }
        of.to -= 4 * a.channels;
    }

    // The states before each part of a tile but the first are made again from those that forward left at the tile's start; then the parts are walked
    // from the last: forward once more with all states and decays in registers, and back. The results of a part are finished during the forward walk
    // of the next.
    __device__ __forceinline__ void backward() const {
        DYNAMIC_SHARED(float, shared);
        // folded: (warps, Fold, b and c, Padded)
        float *cut = shared + Copies * CopyStride, *folded = cut + Tile, *deltas = folded + Warps * 2 * Fold * Padded + warp * BackwardPerWarp;
        float *dys = deltas + Tile * GroupRow, *slots = dys + Cell;
        E *rawStates = reinterpret_cast<E*>(folded + Warps * (2 * Fold * Padded + BackwardPerWarp)),
            *raw = rawStates + 2 * BlockStage + warp * 2 * BackwardStage;
        const int at = scattered<4 * K>(s, S), line = at / K / Lines, column = own + at % K, tilesHere = static_cast<int>(endTile - firstTile);
        const int turn = lane / S / LeftGroups * Kept;
        const i64 stateToken = a.groups * a.states, lastBegin = (endTile - 1) * Tile;

        // the n-th tile from the last; `slot` gets the states at its start. Addresses are computed each time: the registers they would hold in
        // between, the walk needs.
        const auto fetch = [&](int n, float* slot) {
            const int ownLane = opaque(lane), ownThread = opaque(static_cast<int>(threadIdx.x));
            const i64 begin = lastBegin - n * static_cast<i64>(Tile);
            const int left = left_of(begin);
            E *states = rawStates + n % 2 * BlockStage, *to = raw + n % 2 * BackwardStage;
            if (!Float || a.wide) {
                const int lines = ChannelPieces::column(ownLane) < count ? left : 0,
                    stateLines = StatePieces::column(ownThread) < a.states ? left : 0;
                const auto source = [&](const Typed& from, i64 rowStride, i64 token) {
                    return static_cast<const E*>(from.base) + row * rowStride + (begin + ChannelPieces::line(ownLane)) * token + first
                        + ChannelPieces::column(ownLane);
                };
                const i64 stateSource = (row * a.length + begin + StatePieces::line(ownThread)) * stateToken + group * a.states
                    + StatePieces::column(ownThread);
                StatePieces::copy(states, static_cast<const E*>(a.b.base) + stateSource, stateToken, threadIdx.x, stateLines);
                StatePieces::copy(states + Tile * Padded, static_cast<const E*>(a.c.base) + stateSource, stateToken, threadIdx.x, stateLines);
                ChannelPieces::copy(to, source(a.x, a.xRow, a.xToken), a.xToken, lane, lines);
                ChannelPieces::copy(to + Cell, source(a.timeStep, a.stepRow, a.stepToken), a.stepToken, lane, lines);
                ChannelPieces::copy(to + 2 * Cell, source(a.gradient, a.gradientRow, a.gradientToken), a.gradientToken, lane, lines);
                if (SCAN_GATED) ChannelPieces::copy(to + 3 * Cell, source(a.gate, a.gateRow, a.gateToken), a.gateToken, lane, lines);
            } else {
                copy_states(states, begin, left);
                copy_channels(to, a.x, a.xRow, a.xToken, begin, left);
                copy_channels(to + Cell, a.timeStep, a.stepRow, a.stepToken, begin, left);
                copy_channels(to + 2 * Cell, a.gradient, a.gradientRow, a.gradientToken, begin, left);
                if (SCAN_GATED) copy_channels(to + 3 * Cell, a.gate, a.gateRow, a.gateToken, begin, left);
            }
            const float* fromSaved = a.saved + saved_at(endTile - 1 - n);
#pragma unroll
            for (int i = 0; i < K * J; i += 4) copy_async<16>(slot + in_slot(i), fromSaved + (i / 4 * 32 + ownLane) * 4, count > 0);
            copy_commit();
        };
        const auto to_slot = [&](float* slot, const float (&state)[K][J]) {
#pragma unroll
            for (int i = 0; i < K * J; i += 4) {
                const float four[4] = {state[i / J][i % J], state[i / J][i % J + 1], state[i / J][i % J + 2], state[i / J][i % J + 3]};
                store<float, 4>(slot, in_slot(i), four);
            }
        };
        // b, or c, of a token
        const float* const ownStates = shared + (turn & 3) / Kept * CopyStride + s * J;
        const int flip = turn & 4;
        const auto states_of = [&](int offset, float (&to)[J]) {
#pragma unroll
            for (int q = 0; q < J; q += 4) {
                float four[4];
                read<4>(ownStates + offset + (q ^ flip), four);
#pragma unroll
                for (int v = 0; v < 4; v++) to[q + v] = four[v];
            }
        };
        const auto handOver = [&](const float (&ds)[Lines][V], const float (&inputs)[Lines][V], const float (&gradients)[Lines][V], int i) {
            hand_over(ds, inputs, deltas + i * GroupRow, line, column);
#pragma unroll
            for (int l = 0; l < Lines; l++) store<float, V>(dys, (i + line + l * Apart) * Channels + column, gradients[l]);
        };

        float rate[K][J], carry[K][J], dRate[K][J], bias[V], skip[V];      // carry: the gradient of the state, from what follows
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++) {
                const int state = j ^ turn;
                rate[k][j] = holds(k, state) ? a.a[state_at(k, state)] * log2_e : 0.f;
                const float* from = place > 0 ? a.chunkStates + part_of_row() * a.channels * a.states : a.finalGradient
                    ? a.finalGradient + row * a.channels * a.states : nullptr;
                carry[k][j] = holds(k, state) && from ? from[state_at(k, state)] : 0.f;
                dRate[k][j] = 0;
            }
#pragma unroll
        for (int v = 0; v < V; v++) {
            bias[v] = a.bias && column + v < count ? a.bias[first + column + v] : 0.f;
            skip[v] = a.skip && column + v < count ? a.skip[first + column + v] : 0.f;
        }

        Finished of;
        of.raw = raw;
        of.counted = of.rest = 0;
        of.to = (row * a.length + lastBegin + Tile + line) * a.channels + first + column;
#pragma unroll
        for (int l = 0; l < Lines; l++)
#pragma unroll
            for (int v = 0; v < V; v++) of.outputs[l][v] = of.inputs[l][v] = of.stepSums[l][v] = of.deltas[l][v] = 0;
        // of the token after the last folded
        i64 foldTo = ((blockIdx.x % a.blocksPerGroup * a.batch + row) * a.length + endTile * Tile) * stateToken + group * a.states;
        // gradients of b and c, over the block's warps, of the Fold tokens that begin there
        const auto fold = [&](i64 begin) {
            foldTo -= Fold * stateToken;
            for (int e = threadIdx.x * 4; e < 2 * Fold * Padded; e += Threads * 4) {
                const i64 t = begin + e / (2 * Padded), n = e % Padded;
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
                float* to = (e / Padded % 2 ? a.dC : a.dB) + foldTo + e / (2 * Padded) * stateToken + n;
                if (a.states == Padded) store<float, 4>(to, 0, sum);
                else
#pragma unroll
                    for (int v = 0; v < 4; v++)
                        if (n + v < a.states) to[v] = sum[v];
            }
        };
        // which sums over channels end in this lane
        const int groupNumber = lane / S % LeftGroups, end = scattered<2 * Kept>(groupNumber, LeftGroups);
        float* const ownFolded = folded + warp * 2 * Fold * Padded + s * J;

        fetch(0, slots);
        int turned = 0;                                                         // part 0's slot
        const auto slot = [&](int part) { return slots + ((turned + part) & (Parts - 1)) * Slot; };
        for (int n = 0; n < tilesHere; n++) {
            const i64 begin = lastBegin - n * static_cast<i64>(Tile);
            const int left = left_of(begin), rows = column >= count ? 0 : a.length - begin < Tile ? static_cast<int>(a.length - begin) : Tile;
            const E* now = raw + n % 2 * BackwardStage;
            copy_wait<0>();
            // the copies are there, and nobody needs what stood for the tile before
            __syncthreads();
            widen_states<Copies>(rawStates + n % 2 * BlockStage, shared, cut, begin);
            if (Fold == Tile && n > 0) fold(begin + Tile);
            float state[K][J], ds[Lines][V], added[Lines][V], xs[Lines][V], gradients[Lines][V];
#pragma unroll
            for (int k = 0; k < K; k++)
#pragma unroll
                for (int j = 0; j < J; j++) state[k][j] = slot(0)[(k * J + ((j & 4) ^ flip)) * 32 + lane * 4 + ((j & 3) ^ (turn & 3))];
            to_slot(slot(0), state);                                            // in this lane's order
            prepare<false>(now, bias, line, column, left, ds, added, xs);
            gated(now, line, column, gradients);
            handOver(ds, added, gradients, 0);
            __syncthreads();
#pragma unroll 1
            for (int part = 0; part + 1 < Parts; part++) {
                const int i = part * Sub;
                prepare<false>(now + (i + Sub) * Channels, bias, line, column, left - (i + Sub), ds, added, xs);
                gated(now + (i + Sub) * Channels, line, column, gradients);
                float cutoff[4];
                cuts_of(cut + i, cutoff);
#pragma unroll
                for (int r = 0; r < Sub; r++) {
                    float bs[J], steps[2 * K];
                    states_of((i + r) * Padded, bs);
                    read<2 * K>(deltas + (i + r) * GroupRow + lane / S * 2 * K, steps);
#pragma unroll
                    for (int k = 0; k < K; k++)
#pragma unroll
                        for (int j = 0; j < J; j++)
                            state[k][j] = exp2_of<E>(steps[k] * rate[k][j] + cutoff[r]) * state[k][j] + steps[K + k] * bs[j];
                }
                to_slot(slot(part + 1), state);
                handOver(ds, added, gradients, i + Sub);
                sync_warp();
            }
#pragma unroll 1
            for (int part = Parts - 1; part >= 0; part--) {
                const int i = part * Sub;
                finish(of, bias, skip, line, column);
                float history[Sub + 1][K][J], decay[Sub][K][J], cutoff[4];      // history[r + 1] is the state after token r of the part
                float lastOutput[K], lastForC[J];                               // of the last token, so that the state after it need not be kept
                cuts_of(cut + i, cutoff);
#pragma unroll
                for (int q = 0; q < K * J; q += 4) {
                    float four[4];
                    read<4>(slot(part) + in_slot(q), four);
#pragma unroll
                    for (int v = 0; v < 4; v++) history[0][q / J][q % J + v] = four[v];
                }
#pragma unroll
                for (int r = 0; r < Sub; r++) {
                    float bs[J], steps[2 * K];
                    states_of((i + r) * Padded, bs);
                    read<2 * K>(deltas + (i + r) * GroupRow + lane / S * 2 * K, steps);
#pragma unroll
                    for (int k = 0; k < K; k++)
#pragma unroll
                        for (int j = 0; j < J; j++) {
                            decay[r][k][j] = exp2_of<E>(steps[k] * rate[k][j] + cutoff[r]);
                            history[r + 1][k][j] = decay[r][k][j] * history[r][k][j] + steps[K + k] * bs[j];
                        }
                    if (r == Sub - 1) {
                        float cs[J], dy[K];
                        states_of((Tile + i + r) * Padded, cs);
                        read<K>(dys + (i + r) * Channels + own, dy);
#pragma unroll
                        for (int j = 0; j < J; j++) lastForC[j] = 0;
#pragma unroll
                        for (int k = 0; k < K; k++) {
                            lastOutput[k] = 0;
#pragma unroll
                            for (int j = 0; j < J; j++) {
                                lastOutput[k] += history[Sub][k][j] * cs[j];
                                lastForC[j] += dy[k] * history[Sub][k][j];
                            }
                        }
                    }
                }
                float outputSums[Sub * K], inputSums[Sub * K], stepsSums[Sub * K];
#pragma unroll
                for (int r = Sub - 1; r >= 0; r--) {
                    float bs[J], cs[J], steps[2 * K], dy[K], forStates[2][J];
                    states_of((i + r) * Padded, bs);
                    states_of((Tile + i + r) * Padded, cs);
                    read<2 * K>(deltas + (i + r) * GroupRow + lane / S * 2 * K, steps);
                    read<K>(dys + (i + r) * Channels + own, dy);
#pragma unroll
                    for (int j = 0; j < J; j++) forStates[0][j] = 0, forStates[1][j] = r == Sub - 1 ? lastForC[j] : 0.f;
#pragma unroll
                    for (int k = 0; k < K; k++) {
                        float output = r == Sub - 1 ? lastOutput[k] : 0.f, input = 0, stepSum = 0;
#pragma unroll
                        for (int j = 0; j < J; j++) {
                            const float dState = dy[k] * cs[j] + carry[k][j];
                            if (r < Sub - 1) output += history[r + 1][k][j] * cs[j];
                            input += dState * bs[j];
                            forStates[0][j] += dState * steps[K + k];
                            if (r < Sub - 1) forStates[1][j] += dy[k] * history[r + 1][k][j];
                            carry[k][j] = dState * decay[r][k][j];
                            const float through = carry[k][j] * history[r][k][j];
                            stepSum += through * rate[k][j];
                            dRate[k][j] += through * steps[k];
                        }
                        const int at = (r % Apart * Lines + r / Apart) * K + k;
                        outputSums[at] = output; inputSums[at] = input; stepsSums[at] = stepSum;
                    }
                    // over the channels: first without a choice, then over the groups that are left
#pragma unroll
                    for (int half = J / 2, offset = 16; half >= Kept; half /= 2, offset /= 2)
#pragma unroll
                        for (int j = 0; j < half; j++) {
                            forStates[0][j] += from_lane_xor(forStates[0][half + j], offset);
                            forStates[1][j] += from_lane_xor(forStates[1][half + j], offset);
                        }
                    float ends[2 * Kept];
#pragma unroll
                    for (int e = 0; e < 2 * Kept; e++) ends[e] = forStates[e / Kept][e % Kept];
                    reduce_scatter<2 * Kept, LeftGroups * S / 2, S>(ends, lane);
                    if (2 * Kept >= LeftGroups || groupNumber % (LeftGroups / (2 * Kept)) == 0)
#pragma unroll
                        for (int e = 0; e < Owned; e++)
                            ownFolded[((Fold == Tile ? i + r : r) * 2 + (end + e) / Kept) * Padded + ((end + e) % Kept ^ turn)] = ends[e];
                }
                reduce_scatter<Sub * K, S / 2, 1>(outputSums, lane);
                reduce_scatter<Sub * K, S / 2, 1>(inputSums, lane);
                reduce_scatter<Sub * K, S / 2, 1>(stepsSums, lane);
#pragma unroll
                for (int l = 0; l < Lines; l++) {
#pragma unroll
                    for (int v = 0; v < V; v++)
                        of.outputs[l][v] = outputSums[l * V + v], of.inputs[l][v] = inputSums[l * V + v], of.stepSums[l][v] = stepsSums[l * V + v];
                    load<float, V>(deltas, (i + line + l * Apart) * GroupRow + lane / S * 2 * K + column - own, of.deltas[l]);
                }
                of.raw = now + i * Channels; of.counted = left - i; of.rest = rows - i;
                if (part == Parts - 1 && n + 1 < tilesHere) {
                    // the tile before has been finished, and this part's states have been read
                    sync_warp();
                    fetch(n + 1, slot(part));
                }
                if (Fold < Tile) {
                    __syncthreads();
                    fold(begin + i);
                    __syncthreads();
                }
            }
            turned += Parts - 1;
        }
        finish(of, bias, skip, line, column);
        __syncthreads();
        if (Fold == Tile) fold(firstTile * Tile);
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j++)
                if (holds(k, j ^ turn)) {
                    a.dA[part_of_row() * a.channels * a.states + state_at(k, j ^ turn)] = dRate[k][j];
                    if (a.launch == 1) a.chunkStates[part_of_row() * a.channels * a.states + state_at(k, j ^ turn)] = carry[k][j];
                    else if (a.dInitial && blockIdx.z + 1 == gridDim.z) a.dInitial[row * a.channels * a.states + state_at(k, j ^ turn)] = carry[k][j];
                }
        // a channel's sums over the lanes that cared for it, each cell counted once
        sync_warp();
#pragma unroll
        for (int v = 0; v < V; v++) deltas[v * 32 + lane] = of.dSkip[v], dys[v * 32 + lane] = of.dBias[v];
        sync_warp();
        if (lane < Channels && lane < count) {
            float skipSum = 0, biasSum = 0;
            for (int other = 0; other < S; other += S > 4 * K ? S / (4 * K) : 1) {
                const int from = scattered<4 * K>(other, S) % K, v = lane % K - from;
                if (v < 0 || v >= V) continue;
                skipSum += deltas[v * 32 + lane / K * S + other];
                biasSum += dys[v * 32 + lane / K * S + other];
            }
            a.dSkip[part_of_row() * a.channels + first + lane] = skipSum;
            a.dBias[part_of_row() * a.channels + first + lane] = biasSum;
        }
    }
};

// Joins the chunks, in the order of the walk: what each adds by itself becomes what it begins with, forward the state, backward (Reverse) the state's
// gradient at its end. The first has left what it ends with.
template <bool Reverse> __device__ __forceinline__ void scan_join(const ScanArguments& a) {
    const i64 all = a.channels * a.states, at = static_cast<i64>(blockIdx.x) * 128 + threadIdx.x, row = blockIdx.y;
    if (at >= all) return;
    const float rate = a.a[at] * log2_e;
    const auto part = [&](i64 n) { return row * a.chunks + (Reverse ? a.chunks - 1 - n : n); };
    float value = a.chunkStates[part(0) * all + at];
    constexpr int Ahead = 8;
    for (i64 begin = 1; begin < a.chunks - 1; begin += Ahead) {
        float own[Ahead], steps[Ahead];                                         // read at once
#pragma unroll
        for (int i = 0; i < Ahead; i++) {
            const bool there = begin + i < a.chunks - 1;
            own[i] = there ? a.chunkStates[part(begin + i) * all + at] : 0.f;
            steps[i] = there ? a.chunkSteps[part(begin + i) * a.channels + at / a.states] : 0.f;
        }
#pragma unroll
        for (int i = 0; i < Ahead; i++)
            if (begin + i < a.chunks - 1) {
                a.chunkStates[part(begin + i) * all + at] = value;
                value = (steps[i] >= 1e30f ? 0.f : exp2_polynomial(rate * steps[i]) * value) + own[i];
            }
    }
    a.chunkStates[part(a.chunks - 1) * all + at] = value;
}

KERNEL(scan_join_forward, 128, ScanArguments, scan_join<false>)
KERNEL(scan_join_backward, 128, ScanArguments, scan_join<true>)

template <class E, int K, int J, int S, int Tile, int Sub> __device__ __forceinline__ void scan_forward(const ScanArguments& a) {
    Scan<E, K, J, S, Tile, Sub>(a, false).template walk<false, false>();
}
template <class E, int K, int J, int S, int Tile,
    int Sub> __device__ __forceinline__ void scan_backward(const ScanArguments& a) { Scan<E, K, J, S, Tile, Sub>(a, true).backward(); }
template <class E, int K, int J, int S, int Tile, int Sub> __device__ __forceinline__ void scan_first_forward(const ScanArguments& a) {
    const Scan<E, K, J, S, Tile, Sub> scan(a, false);
    if (scan.place > 0) scan.template walk<true, false>(); else scan.template walk<false, false>();
}
template <class E, int K, int J, int S, int Tile, int Sub> __device__ __forceinline__ void scan_first_backward(const ScanArguments& a) {
    const Scan<E, K, J, S, Tile, Sub> scan(a, true);
    if (scan.place > 0) scan.template walk<true, true>(); else scan.backward();
}

// `Blocks` a multiprocessor: that bounds the registers
#define SCAN_OF(shape, type, E, K, J, S, Tile, Sub, Blocks) \
    KERNEL_OF(scan_forward_##shape##_##type, 128, Blocks, ScanArguments, scan_forward<E, K, J, S, Tile, Sub>) \
    KERNEL_OF(scan_backward_##shape##_##type, 128, Blocks, ScanArguments, scan_backward<E, K, J, S, Tile, Sub>)
// the launch ahead of theirs where rows are cut
#define SCAN_FIRST_OF(shape, type, E, K, J, S, Tile, Sub, Blocks) \
    KERNEL_OF(scan_first_forward_##shape##_##type, 128, Blocks, ScanArguments, scan_first_forward<E, K, J, S, Tile, Sub>) \
    KERNEL_OF(scan_first_backward_##shape##_##type, 128, Blocks, ScanArguments, scan_first_backward<E, K, J, S, Tile, Sub>)

// shape: channels and states of a thread, lanes of a channel, tile, part of a tile, blocks of a multiprocessor; the host has the same numbers
#define SCAN_SHAPE_4 1, 4, 1, 16, 4, 2
#define SCAN_SHAPE_16 2, 8, 2, 16, 4, 2
#define SCAN_SHAPE_32 2, 8, 4, 16, 4, 2
#define SCAN_SHAPE_64 2, 8, 8, 16, 4, 2
#define SCAN_SHAPE_128 2, 8, 16, 16, 4, 2
#define SCAN_SHAPE_256 2, 8, 32, 16, 4, 2
#define SCAN_WITH(kernels, ...) kernels(__VA_ARGS__)  // arguments take their values first
#define SCAN_JOINED(left, right) left##right
#define SCAN_SHAPE_OF(shape) SCAN_JOINED(SCAN_SHAPE_, shape)

#ifdef SCAN_SHAPE                                    // the host asks for one shape, type and launch: the compiler is at work while the user waits
SCAN_WITH(SCAN_KERNELS, SCAN_SHAPE, SCAN_TYPE, SCAN_ELEMENT, SCAN_SHAPE_OF(SCAN_SHAPE))
#else
#define SCAN(shape) \
    SCAN_WITH(SCAN_OF, shape, bfloat16, bfloat16, SCAN_SHAPE_OF(shape)) \
    SCAN_WITH(SCAN_OF, shape, float32, float, SCAN_SHAPE_OF(shape)) \
    SCAN_WITH(SCAN_FIRST_OF, shape, bfloat16, bfloat16, SCAN_SHAPE_OF(shape)) \
    SCAN_WITH(SCAN_FIRST_OF, shape, float32, float, SCAN_SHAPE_OF(shape))
SCAN(4)
SCAN(16)
SCAN(32)
SCAN(64)
SCAN(128)
SCAN(256)
#endif
