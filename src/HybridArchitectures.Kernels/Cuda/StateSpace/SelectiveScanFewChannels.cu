// The forward selective scan (see SelectiveScan.cu) for rows with so few channels that threads with the states of two channels would leave most of
// the GPU idle.
//
// Tiles. A lane has two states of one channel. 8 lanes share a channel, and a warp has 4 channels. Each warp processes its row once, so rows need not
// be divided into chunks, whose first pass would double the exponentials. One row of 4096 channels is 1024 warps, two for each scheduler of an H100.
// A block is 4 warps and 16 channels, which are 32 bytes of a token in bfloat16.
//
// Memory. States are in registers. Raw inputs arrive by asynchronous copies, `Stages` tiles of 16 tokens ahead. B and C are in shared memory as
// float32, one row per state, so that a lane reads four tokens at once. dt and dt x are next to each other, one row per channel, two tokens at once.
// Work per token and channel (softplus, dt x, gate, D, the result) is done by one lane for one token and two channels. Sums over the lanes of a
// channel use exchanges that halve the number of values, in float32.
//
// The bottleneck is the transfer from shared memory to registers: 128 bytes per cycle and multiprocessor, also if lanes read the same address. 16
// bytes per lane take a warp four cycles, or two if neighbouring lanes, or lanes two apart, read the same address. This determines the order of the
// lanes: bit 0 selects a channel, bits 1 to 3 a state, bit 4 a channel. The scan has no branches: while a tile is processed, the next one is prepared
// and the results of the previous one are finished.
//
// Per warp and token: 22.8 instructions, 2.4 special functions, 6.3 cycles of shared memory. Limits on one H100 for 8192 tokens x 4096 channels x 16
// states in bfloat16: special functions 0.155 ms, instructions 0.18 ms, shared memory 0.2 ms, bytes 0.09 ms. Measured: 0.267 ms. lab/kernels-log.md
// lists the attempts.
#include "SelectiveScan.cuh"

#ifndef SCAN_SAVES  // whether states are saved for the gradient
#define SCAN_SAVES (args.saved != nullptr)
#endif

// An address in shared memory in 32 bits, so that a copy costs one addition.
#ifdef HYBRID_EMULATION
using SharedPlace = char*;
__device__ __forceinline__ SharedPlace shared_place(void* pointer) { return static_cast<char*>(pointer); }
#else
using SharedPlace = unsigned;
__device__ __forceinline__ SharedPlace shared_place(void* pointer) {
    unsigned address;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(address) : "l"(pointer));
    return address;
}
#endif

// Copies 16 bytes, or zeros if `there` is false. Does nothing unless `wanted` is true, without a branch.
__device__ __forceinline__ void copy_where(bool wanted, SharedPlace to, const void* from, bool there) {
#ifdef HYBRID_EMULATION
    if (wanted) emulation::copy_later(to, from, 16, there);
#else
    asm volatile("{ .reg .pred p; setp.ne.s32 p, %0, 0; @p cp.async.cg.shared.global [%1], [%2], 16, %3; }"
        : : "r"(static_cast<int>(wanted)), "r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
#endif
}

// The scan of one block. The host ensures that all activations have type E and consist of whole pieces of 16 bytes, and that rows are shorter than
// 2^30 tokens.
template <class E> struct FewChannels {
    static constexpr bool Float = sizeof(E) == 4;
    static constexpr float Raise = Float ? 0.f : decay_raise;
    static constexpr int Tile = 16, Padded = 16, Held = 2, Lanes = Padded / Held, WarpChannels = 32 / Lanes, Warps = 4,
        Channels = Warps * WarpChannels, Threads = 32 * Warps;
    static constexpr int Size = sizeof(E), Each = 16 / Size, Stages = 4;  // the elements of a piece; the number of raw tiles
    static constexpr int RawStates = 2 * Tile * Padded, RawChannels = Tile * Channels, Stage = RawStates + 3 * RawChannels;
    // The distance of rows, such that lanes use different banks.
    static constexpr int StateRow = Tile + 4, States = 2 * Padded * StateRow, StepRow = 2 * Tile + 4, Steps = WarpChannels * StepRow;
    static constexpr int StatePieces = Tile * Padded / Each, ChannelPieces = Tile * Channels / Each, Pieces = 2 * StatePieces + 3 * ChannelPieces;
    static constexpr int Copies = (Pieces + Threads - 1) / Threads;  // of a thread
    // The token number of elements after the last channel or state.
    static constexpr int Missing = 1 << 30;
    // Saved states: the number of channels that a warp of the backward kernel processes at a time.
    static constexpr int SlotChannels = 32, StatesSize = SlotChannels * Padded;
    static_assert(2 * Tile * Padded == 4 * Threads && Padded == Channels,
        "a thread widens four states of a token; rows of states and of channels are alike");

    // Returns where an element of a tile is stored. Pieces are exchanged within a row, so that the lanes that read a column use different banks.
    __device__ __forceinline__ static int placed(int token, int column) {
        constexpr int Row = Channels / Each;  // 2 or 4 pieces
        return token * Channels + (column / Each ^ token / (8 / Row) % Row) * Each + column % Each;
    }

    // Returns where the backward kernel finds a state among the numbers of a slot.
    __device__ __forceinline__ static int state_index(
        int channel, int n) { return ((channel % 2 * 2 + n % 8 / 4) * 32 + channel / 2 * 2 + n / 8) * 4 + n % 4; }

    // Adds two numbers: lanes that differ in bit `Bit` each receive one of the sums.
    template <int Bit> __device__ __forceinline__ static float halved(float low, float high, int lane) {
        const bool upper = lane & Bit;
        return (upper ? high : low) + from_lane_xor(upper ? low : high, Bit);
    }

    __device__ __forceinline__ static void run(const ScanArguments& args) {
        DYNAMIC_SHARED(float, shared);
        // This lane's states are stateLane and stateLane + Lanes.
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, stateLane = lane / 2 % Lanes, channel = lane % 2 + lane / 16 * 2;
        float *cuts = shared + 2 * States, *steps = cuts + 2 * Tile + warp * 2 * Steps;
        E* const raw = reinterpret_cast<E*>(cuts + 2 * Tile + Warps * 2 * Steps);
        const i64 perGroup = args.channels / args.groups, group = blockIdx.x / args.blocksPerGroup, row = blockIdx.y,
            stateToken = args.groups * args.states;
        const i64 inGroup = blockIdx.x % args.blocksPerGroup * Channels, firstChannel = group * perGroup + inGroup, left = perGroup - inGroup;
        if (!SCAN_SAVES && left <= 0) return;  // saved states are always written completely
        const int count = left < Channels ? static_cast<int>(left) : Channels, length = static_cast<int>(args.length),
        tiles = (length + Tile - 1) / Tile;
        int valid = length;
        if (args.lengths) valid = static_cast<int>(args.lengths[row]);
        const int threadChannel = warp * WarpChannels + channel;
        // Of prepared inputs and of results, this lane has one token of two channels.
        const int line = stateLane + lane % 2 * Lanes, column = warp * WarpChannels + channel / 2 * 2;

        // B, C, x, dt and z of a tile, piece by piece.
        const char* from[Copies];
        i64 stride[Copies];
        int tokenOf[Copies];
        SharedPlace to[Copies];
        const int pieces = SCAN_GATED ? Pieces : Pieces - ChannelPieces;
#pragma unroll
        for (int i = 0; i < Copies; i++) {
            const int piece = i * Threads + threadIdx.x, tensor = piece / StatePieces, token = piece % StatePieces / (Padded / Each),
                at = piece % (Padded / Each) * Each;
            const i64 perToken = tensor < 2 ? stateToken : tensor == 2 ? args.xToken : tensor == 3 ? args.dtToken : args.zToken;
            const i64 begin = tensor < 2 ? row * args.length * stateToken + group * args.states
                : row * (tensor == 2 ? args.xRow : tensor == 3 ? args.dtRow : args.zRow) + firstChannel;
            const void* base = tensor == 0 ? args.B.base : tensor == 1 ? args.C.base : tensor == 2 ? args.x.base : tensor == 3 ? args.dt.base
                : args.z.base;
            from[i] = static_cast<const char*>(base) + (begin + token * perToken + at) * Size;
            stride[i] = perToken * Tile * Size;
            tokenOf[i] = at < (tensor < 2 ? static_cast<int>(args.states) : count) ? token : Missing;
            to[i] = shared_place(raw + tensor * Tile * Padded + placed(token, at));
        }
        // Where the next tile is stored, in bytes, and the tokens from it on.
        int fetched = 0, unfetched = valid;
        const auto fetch = [&] {
#pragma unroll
            for (int i = 0; i < Copies; i++) {
                copy_where((i + 1) * Threads <= pieces || i * Threads + static_cast<int>(threadIdx.x) < pieces, to[i] + fetched, from[i],
                    tokenOf[i] < unfetched);
                from[i] += stride[i];
            }
            unfetched -= Tile;
            fetched = fetched == (Stages - 1) * Stage * Size ? 0 : fetched + Stage * Size;
            copy_commit();
        };

        float state[Held], rate[Held], dtBias[2], D[2];
#pragma unroll
        for (int j = 0; j < Held; j++) {
            const int n = stateLane + j * Lanes;
            const bool there = threadChannel < count && n < args.states;
            const i64 at = (firstChannel + threadChannel) * args.states + n;
            rate[j] = there ? args.A[at] * log2_e : 0.f;
            state[j] = there && args.initial ? args.initial[row * args.channels * args.states + at] : 0.f;
        }
#pragma unroll
        for (int v = 0; v < 2; v++) {
            dtBias[v] = args.dtBias && column + v < count ? args.dtBias[firstChannel + column + v] : 0.f;
            D[v] = args.D && column + v < count ? args.D[firstChannel + column + v] : 0.f;
        }

        // A tile is prepared in three parts. Its loads and arithmetic come before the scan and its stores after it, because no load is moved before a
        // store.
        Raw<E, 2> xs, ds, gates;
        Raw<E, 4> fours;  // four states of B or C
        bool cut = false;
        const int wideToken = threadIdx.x % Tile, wide = threadIdx.x / Tile * 4,
            rawWide = wide / Padded * Tile * Padded + placed(wideToken, wide % Padded);
        const int element = RawStates + placed(line, column);
        int looked = 0, unprepared = valid;  // where the tile after is stored; the tokens from it on
        const auto look = [&](int n) {
            const E* stage = raw + looked;
            xs = load_raw<E, 2>(stage, element);
            ds = load_raw<E, 2>(stage, element + RawChannels);
            if (SCAN_GATED) gates = load_raw<E, 2>(stage, element + 2 * RawChannels);
            fours = load_raw<E, 4>(stage, rawWide);
            looked = looked == (Stages - 1) * Stage ? 0 : looked + Stage;
            if (SCAN_DOCUMENTS) {
                const i64 t = static_cast<i64>(n) * Tile + wideToken;
                cut = wide == 0 && t < args.length && args.starts[row * args.length + t];
            }
        };
        // dt and dt x; D x and the gate of the previous tile, this one and the next.
        float both[2][2], added[3][2], factor[3][2];
        const auto prepare = [&] {
            const bool there = line < unprepared;
            unprepared -= Tile;
#pragma unroll
            for (int v = 0; v < 2; v++) {
                float d = ds[v] + dtBias[v];
                if (SCAN_SOFTPLUS) d = Float ? softplus<E>(d) : softplus_polynomial(d);
                both[v][0] = there ? d : 0.f;
                both[v][1] = both[v][0] * xs[v];
                added[2][v] = D[v] * xs[v];
                if (SCAN_GATED) factor[2][v] = gates[v] * sigmoid<E>(gates[v]);
            }
        };
        float *const stepsTo = steps + channel / 2 * 2 * StepRow + 2 * line, *const statesTo = shared + wide * StateRow + wideToken;
        const auto hand_over = [&](int half) {
#pragma unroll
            for (int v = 0; v < 2; v++) store<float, 2>(stepsTo, half * Steps + v * StepRow, both[v]);
#pragma unroll
            for (int v = 0; v < 4; v++) statesTo[half * States + v * StateRow] = fours[v];
            // so low that no state remains
            if (SCAN_DOCUMENTS && wide == 0) cuts[half * Tile + wideToken] = cut ? -1e30f : Raise;
#pragma unroll
            for (int v = 0; v < 2; v++)
                added[0][v] = added[1][v], added[1][v] = added[2][v], factor[0][v] = factor[1][v], factor[1][v] = factor[2][v];
        };

        // Of the previous tile, each of four tokens over four lanes.
        float sums[4] = {0, 0, 0, 0};
        E* out = static_cast<E*>(args.output.base) + (row * args.length + line - Tile) * args.channels + firstChannel + column;
        const int written = column < count ? line : Missing;
        int rest = 0;  // the tokens of the previous tile that are written
        const auto finish = [&] {
            const float low = halved<8>(sums[0], sums[1], lane), high = halved<8>(sums[2], sums[3], lane);
            // Token stateLane of this channel, and token stateLane + Lanes, for the channels of two lanes.
            const bool odd = lane % 2;
            const float other = from_lane_xor(odd ? low : high, 1);
            float values[2] = {odd ? other : low, odd ? high : other};
#pragma unroll
            for (int v = 0; v < 2; v++) values[v] = SCAN_GATED ? (values[v] + added[0][v]) * factor[0][v] : values[v] + added[0][v];
            store_where<E, 2>(written < rest, out, values);
            out += Tile * args.channels;
        };

        const i64 slotsOfGroup = (perGroup + SlotChannels - 1) / SlotChannels, slotsOfRow = args.groups * slotsOfGroup;
        float* saved = args.saved + (row * tiles * slotsOfRow + group * slotsOfGroup + inGroup / SlotChannels) * StatesSize;
        const int inSlot = static_cast<int>(inGroup % SlotChannels) + threadChannel;

#pragma unroll 1
        for (int n = 0; n < Stages; n++) fetch();
        copy_wait<Stages - 1>();
        __syncthreads();
        look(0);
        prepare();
#pragma unroll
        for (int v = 0; v < 2; v++) added[1][v] = factor[1][v] = 0;
        hand_over(0);
#pragma unroll 1
        for (int n = 0; n < tiles; n++) {
            const int half = n % 2;
            copy_wait<Stages - 2>();
            __syncthreads();  // the next tile has arrived, and no warp needs the previous one
            fetch();
            look(n + 1);
            if (SCAN_SAVES) {
#pragma unroll
                for (int j = 0; j < Held; j++) {
                    const float one[1] = {state[j]};
                    store_where<float, 1>(args.saved != nullptr, saved + state_index(inSlot, stateLane + j * Lanes), one);
                }
                saved += slotsOfRow * StatesSize;
            }
            finish();
            prepare();
            const float *b = shared + half * States + stateLane * StateRow, *c = b + Padded * StateRow, *dts = steps + half * Steps
                + channel * StepRow;
#pragma unroll
            for (int m = 0; m < Tile / 4; m++) {
                float bs[Held][4], cs[Held][4], ahead[2][4], cutoff[4] = {Raise, Raise, Raise, Raise}, parts[4];
#pragma unroll
                for (int j = 0; j < Held; j++) {
                    load<float, 4>(b, j * Lanes * StateRow + 4 * m, bs[j]);
                    load<float, 4>(c, j * Lanes * StateRow + 4 * m, cs[j]);
                }
                load<float, 4>(dts, 8 * m, ahead[0]);
                load<float, 4>(dts, 8 * m + 4, ahead[1]);
                if (SCAN_DOCUMENTS) load<float, 4>(cuts, half * Tile + 4 * m, cutoff);
#pragma unroll
                for (int token = 0; token < 4; token++) {
                    const float dt = ahead[token / 2][token % 2 * 2], input = ahead[token / 2][token % 2 * 2 + 1];
#pragma unroll
                    for (int j = 0; j < Held; j++) {
                        state[j] = exp2_of<E>(dt * rate[j] + cutoff[token]) * state[j] + input * bs[j][token];
                        parts[token] = j == 0 ? state[j] * cs[j][token] : parts[token] + state[j] * cs[j][token];
                    }
                }
                sums[m] = halved<4>(halved<2>(parts[0], parts[1], lane), halved<2>(parts[2], parts[3], lane), lane);
            }
            rest = length - n * Tile;
            hand_over(half ^ 1);
        }
        finish();
#pragma unroll
        for (int j = 0; j < Held; j++)
            if (threadChannel < count && stateLane + j * Lanes < args.states) args.final[(row * args.channels + firstChannel
                + threadChannel) * args.states + stateLane + j * Lanes] = state[j];
    }
};

template <class E> __device__ __forceinline__ void scan_few(const ScanArguments& args) { FewChannels<E>::run(args); }

#define SCAN_FEW_OF(type, E) KERNEL_OF(scan_few_forward_##type, 128, 2, ScanArguments, scan_few<E>)
#define SCAN_WITH(kernels, ...) kernels(__VA_ARGS__)

#ifdef SCAN_TYPE
SCAN_WITH(SCAN_FEW_OF, SCAN_TYPE, SCAN_ELEMENT)
#else
SCAN_FEW_OF(bfloat16, bfloat16)
SCAN_FEW_OF(float32, float)
#endif
