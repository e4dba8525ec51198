// The tiles of the selective scan: the constants of a configuration, the copies of inputs to shared memory, and what both directions compute for
// them.
#pragma once
#include "SelectiveScan.cuh"

// Returns the same number, but hides it from the compiler, which then computes derived values where they are used and does not keep them in
// registers.
__device__ __forceinline__ int opaque(int value) {
#ifndef HYBRID_EMULATION
    asm volatile("mov.b32 %0, %0;" : "+r"(value));
#endif
    return value;
}

template <class E, int K, int J, int S, int Tile, int PartTokens> struct Scan {
    static constexpr int Warps = 4, Threads = 32 * Warps, Padded = J * S, Groups = 32 / S, Channels = Groups * K;
    static constexpr int Piece = Channels * sizeof(E) < 16 ? static_cast<int>(Channels * sizeof(E)) : 16;
    static constexpr int StatePiece = Padded * sizeof(E) < 16 ? static_cast<int>(Padded * sizeof(E)) : 16, PerStatePiece = StatePiece / sizeof(E);
    // The number of tokens whose gradients of B and C are collected before they are summed over warps.
    static constexpr int Fold = Padded >= 128 ? PartTokens : Tile;
    // the elements of a warp's part of an input in a tile, and of its states
    static constexpr int InputSize = Tile * Channels, StatesSize = 32 * K * J;
    static constexpr bool Float = sizeof(E) == 4;
    static constexpr float Raise = Float ? 0.f : decay_raise;
    static_assert(Tile % 8 == 0 && PartTokens == 4 && J <= 8, "tiles");

    const ScanArguments& args;
    // The channels of the warp are firstChannel to firstChannel + count - 1; count can be 0. tiles: the tiles of a row.
    i64 row, group, firstChannel, valid, tiles;
    i64 chunk, scanOrder, firstTile, endTile;  // the chunk of this block, its number in the order of the scan, its tiles
    i64 warpsOfRow, warpOfRow;
    // This thread's channels are threadChannel to threadChannel + K - 1 of those of the warp. Its states are stateLane * J to stateLane * J + J - 1.
    int count, warp, lane, stateLane, threadChannel;

    // reverse: whether the scan begins at the end of the row.
    __device__ __forceinline__ Scan(const ScanArguments& arguments, bool reverse) : args(arguments) {
        warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        // Derived values are then kept in registers and not computed again from the number of the thread.
        if (!reverse) lane = static_cast<int>(as_bits(from_lane_xor(as_float(lane), 0)));
        stateLane = lane % S, threadChannel = lane / S * K;
        const i64 perGroup = args.channels / args.groups;
        group = blockIdx.x / args.blocksPerGroup;
        row = blockIdx.y;
        firstChannel = group * perGroup + (blockIdx.x % args.blocksPerGroup * Warps + warp) * Channels;
        const i64 left = (group + 1) * perGroup - firstChannel, warpsOfGroup = (perGroup + Channels - 1) / Channels;
        warpsOfRow = args.groups * warpsOfGroup;
        warpOfRow = group * warpsOfGroup + blockIdx.x % args.blocksPerGroup * Warps + warp;
        count = left < 0 ? 0 : left < Channels ? static_cast<int>(left) : Channels;
        valid = args.length;
        if (args.lengths) valid = args.lengths[row];
        tiles = (args.length + Tile - 1) / Tile;
        scanOrder = args.launch == 2 ? blockIdx.z + 1 : blockIdx.z;
        chunk = reverse ? args.chunks - 1 - scanOrder : scanOrder;
        const i64 from = scanOrder == 0 ? 0 : args.leadTiles + (scanOrder - 1) * args.chunkTiles, least = from
            + (scanOrder == 0 ? args.leadTiles : args.chunkTiles),
            to = least < tiles ? least : tiles;
        firstTile = reverse ? tiles - to : from;
        endTile = reverse ? tiles - from : to;
    }

    // Returns where the states at the start of a tile are saved.
    __device__ __forceinline__ i64 saved_at(i64 tile) const { return ((row * tiles + tile) * warpsOfRow + warpOfRow) * StatesSize; }

    // Returns the position of the i-th state of this thread among the states of the warp.
    __device__ __forceinline__ int state_index(int i) const { return (i / 4 * 32 + lane) * 4 + i % 4; }

    // Returns the part of tensors with one part per chunk.
    __device__ __forceinline__ i64 part_of_row() const { return row * args.chunks + chunk; }

    __device__ __forceinline__ bool holds(int k, int j) const { return threadChannel + k < count && stateLane * J + j < args.states; }

    __device__ __forceinline__ i64 state_at(int k, int j) const { return (firstChannel + threadChannel + k) * args.states + stateLane * J + j; }

    // Copies `left` tokens from `source` on, element by element for any type: `columns` of `Columns` neighbours exist. The rest of the tile is filled
    // with zeros.
    template <int Columns, int Threads> __device__ __forceinline__ static void copy(
        E* to, const Typed& from, i64 source, i64 token, int left, int columns, int thread) {
        for (int e = thread; e < Tile * Columns; e += Threads) {
            const int i = e / Columns, column = e % Columns;
            to[e] = from_float<E>(i < left && column < columns ? from[source + i * token + column] : 0.f);
        }
    }

    // Returns the number of tokens of the tile that begins at `begin`.
    __device__ __forceinline__ int left_of(
        i64 begin) const { return valid - begin < Tile ? valid < begin ? 0 : static_cast<int>(valid - begin) : Tile; }

    // Returns the number of tokens of the row from `begin` on, limited to two tiles.
    __device__ __forceinline__ int ahead_of(i64 begin) const {
        const i64 left = valid - begin;
        return static_cast<int>(left > 2 * Tile ? 2 * Tile : left < -2 * Tile ? -2 * Tile : left);
    }

    __device__ __forceinline__ void copy_channels(E* to, const Typed& from, i64 rowStride, i64 token, i64 begin, int left) const {
        copy<Channels, 32>(to, from, row * rowStride + begin * token + firstChannel, token, left, count, lane);
    }

    // Copies B and C of a tile, by the whole block.
    __device__ __forceinline__ void copy_states(E* to, i64 begin, int left) const {
        const i64 token = args.groups * args.states, source = (row * args.length + begin) * token + group * args.states;
        const int states = static_cast<int>(args.states);
        copy<Padded, Threads>(to, args.B, source, token, left, states, threadIdx.x);
        copy<Padded, Threads>(to + Tile * Padded, args.C, source, token, left, states, threadIdx.x);
    }

    // Converts B and C to float32, in `Copies` copies that are `CopyStride` apart. In copy x, four neighbours are exchanged: their numbers are
    // combined by xor with 4 / Copies * x. Also stores the addend of the exponent of each token: Raise, or a number so low that no state remains.
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
            cut[threadIdx.x] = t >= 0 && t < args.length && args.starts[row * args.length + t] ? -1e30f : Raise;
        }
    }

    // Writes results of V channels from `column` on, at the V elements to which `to` would point if the tensor had type E.
    template <int V> __device__ __forceinline__ void write(const TypedOutput& output, E* to, bool there, int column, const float (&values)[V]) const {
        if (!Float || args.wide) store_where<E, V>(there, to, values);
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
        for (int token = 0; token < 4; token++) cutoff[token] = Raise;
        if (SCAN_DOCUMENTS) read<4>(from, cutoff);
    }

    // Returns the index, among V values, of the first that this lane has after reduce_scatter over `lanes` lanes; `number` is the number of the lane.
    template <int V> __device__ __forceinline__ static int scattered(
        int number, int lanes) { return V >= lanes ? number * (V / lanes) : number / (lanes / V); }

    // ---- forward, and the pass before it that processes each chunk alone ----
    // Tokens are processed in groups of four. In addition to its states, a lane finishes `Sums` of the 4 * Channels values of a group: those whose
    // sums over states end in it. These are V neighbouring channels from `column` on, of `Lines` tokens: line, line + Apart, ...
    static constexpr int Sums = 4 * K > S ? 4 * K / S : 1, V = Sums < K ? Sums : K, Lines = Sums / V, Apart = 4 / Lines;
    // dt and dt x of a token; lanes that write two tokens at once use different banks.
    static constexpr int GroupRow = 2 * Channels + (S > 1 ? 16 : 0);
    static constexpr int PerWarp = 2 * 4 * GroupRow, WarpStage = 3 * InputSize, BlockStage = 2 * Tile * Padded;

    __device__ __forceinline__ void multiply_by_gate(const E* gate, int line, int column, float (&values)[Lines][V]) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) {
            float gates[V];
            load<E, V>(gate, (line + l * Apart) * Channels + column, gates);
#pragma unroll
            for (int v = 0; v < V; v++) values[l][v] *= gates[v] * sigmoid<E>(gates[v]);
        }
    }

    // Loads the gradient of y before the gate. x is two tensors before it, and the gate after it.
    __device__ __forceinline__ void gated(const E* x, int line, int column, float (&values)[Lines][V]) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) load<E, V>(x + 2 * InputSize, (line + l * Apart) * Channels + column, values[l]);
        if (SCAN_GATED) multiply_by_gate(x + 3 * InputSize, line, column, values);
    }

    // Computes dt and dt x (Reverse: and dy) of this lane in a group, and returns the raw values; x points to the raw inputs of its first token.
    template <bool Reverse> __device__ __forceinline__ void prepare(const E* x, const float (&dtBias)[V], int line, int column, int left,
        float (&ds)[Lines][V], float (&inputs)[Lines][V], float (&xs)[Lines][V]) const {
#pragma unroll
        for (int l = 0; l < Lines; l++) {
            const int element = (line + l * Apart) * Channels + column;
            load<E, V>(x + InputSize, element, ds[l]);
            load<E, V>(x, element, xs[l]);
#pragma unroll
            for (int v = 0; v < V; v++) inputs[l][v] = xs[l][v];
        }
        if (Reverse && SCAN_GATED) multiply_by_gate(x + 2 * InputSize, line, column, inputs);
#pragma unroll
        for (int l = 0; l < Lines; l++)
#pragma unroll
            for (int v = 0; v < V; v++) {
                ds[l][v] += dtBias[v];
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
                row[column - threadChannel] = ds[l][0];
                row[K + column - threadChannel] = inputs[l][0];
            }
        }
    }

    // Copies a tile of `Columns` columns in pieces of `Bytes` bytes; line and column locate the first piece of a thread.
    template <int Columns, int Bytes, int Threads> struct Pieces {
        // a thread copies pieces of one column
        static constexpr int Each = Bytes / sizeof(E), Wide = Columns / Each, Step = Threads / Wide < Tile ? Threads / Wide : Tile;
        static_assert(Wide <= Threads && Tile % Step == 0, "a column a thread");

        __device__ __forceinline__ static int line(int thread) { return thread / Wide; }
        __device__ __forceinline__ static int column(int thread) { return thread % Wide * Each; }

        // `left` is the number of lines that exist.
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

    // B and C of two tiles and the addends of exponents, dt and dt x of two groups per warp; then the raw inputs: B and C of two tiles, the rest of
    // three.
    static constexpr int forward_shared() {
        return static_cast<int>((2 * BlockStage + Warps * 3 * WarpStage) * sizeof(E) + (2 * BlockStage + 2 * Tile + Warps * PerWarp) * sizeof(float));
    }

    // Scans the tiles of the chunk of this block forward, or computes what a chunk adds to a state of zeros: SelectiveScanForward.cuh.
    template <bool Local, bool Reverse> __device__ __forceinline__ void forward() const;

    // Stores the states of this thread, in pieces of up to four if all states exist.
    __device__ __forceinline__ void save(float* to, const float (&state)[K][J]) const {
        constexpr int V = J < 4 ? J : 4;
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < J; j += V) {
                float values[V];
#pragma unroll
                for (int v = 0; v < V; v++) values[v] = state[k][j + v];
                if (args.states == Padded) {
                    if (threadChannel + k < count) store<float, V>(to, state_at(k, j), values);
                } else
#pragma unroll
                    for (int v = 0; v < V; v++)
                        if (holds(k, j + v)) to[state_at(k, j + v)] = values[v];
            }
    }

    // ---- backward ----
    // Sums over the channels of a warp go over its `Groups` groups of lanes: 2 J values per token and lane. Each exchange halves the number of values
    // of a lane. No lane has to choose a half, because the j-th register of a lane contains the state of number j xor `turn`, where `turn` has the
    // bits of its group. Four neighbours of B and C in that order come from the copy that the lower bits of `turn` select.
    static constexpr int log2_of(int n) { return n > 1 ? 1 + log2_of(n / 2) : 0; }
    static constexpr int TurnBits = log2_of(Groups) < log2_of(J) ? log2_of(Groups) : log2_of(J), Kept = J >> TurnBits,
        LeftGroups = Groups >> TurnBits;
    static constexpr int Copies = Kept == 1 ? 4 : Kept == 2 ? 2 : 1, CopyStride = BlockStage + 16;
    static constexpr int Parts = Tile / PartTokens, BackwardStage = 4 * InputSize, Owned = 2 * Kept > LeftGroups ? 2 * Kept / LeftGroups : 1;
    static constexpr int BackwardPerWarp = Tile * GroupRow + InputSize + Parts * StatesSize;

    static constexpr int backward_shared() {
        return static_cast<int>((2 * BlockStage + Warps * 2 * BackwardStage) * sizeof(E)
            + (Copies * CopyStride + Tile + Warps * (BackwardPerWarp + 2 * Fold * Padded)) * sizeof(float));
    }

    // What remains to be done for a part after its scan.
    struct Finished {
        float outputs[Lines][V], inputs[Lines][V], stepSums[Lines][V], dts[Lines][V];  // sums over states; dt
        const E* raw;
        int counted, rest;  // the tokens of the part in the row, and those to be written
        i64 to;  // where the results are written, for the part after it
        float dD[V] = {}, dDtBias[V] = {};
    };

    // Computes the gradients of the chunk of this block: SelectiveScanBackward.cuh.
    __device__ __forceinline__ void finish(Finished& of, const float (&dtBias)[V], const float (&D)[V], int line, int column) const;
    __device__ __forceinline__ void backward() const;
};
