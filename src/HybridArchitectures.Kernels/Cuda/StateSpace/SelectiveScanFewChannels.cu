// The selective scan forward (see SelectiveScan.cu), for rows of so few channels that a thread with the states of two channels leaves most of the GPU
// idle.
//
// How it is cut. A lane holds two states of one channel, 8 lanes a channel, 4 channels a warp; each warp walks its row once, so that rows need not be
// cut into chunks, whose first pass doubles the exponentials. One row of 4096 channels is 1024 warps, two for each scheduler of an H100. A block is 4
// warps, 16 channels, 32 bytes of a token in bfloat16. What lives where. States in registers. Raw inputs come by asynchronous copies, `Stages` tiles
// of 16 tokens ahead. b and c stand in shared memory as float32, a row a state, so that a lane reads four tokens at once; delta and delta x next to
// each other, a row a channel, two tokens at once. What belongs to a token and channel (softplus, delta x, gate, skip, the result) is done by one
// lane for one token and two channels. Sums over a channel's lanes go by halving exchanges, in float32. What binds is what shared memory gives to
// registers, 128 bytes a cycle and multiprocessor, also where lanes read the same: a warp's 16 bytes a lane take four cycles, two where neighbours,
// or lanes two apart, read the same place. Hence the order of the lanes: bit 0 is a channel's, bits 1 to 3 a state's, bit 4 a channel's. Every
// stretch of the walk is without a branch: during a tile's walk the next one is prepared and the results of the one before are finished. Per warp and
// token: 22.8 instructions, 2.4 special functions, 6.3 cycles of shared memory. Limits on one H100 at 8192 tokens x 4096 channels x 16 states,
// bfloat16: special functions 0.155 ms, instructions 0.18, shared memory 0.2, bytes 0.09. Reached: 0.267 ms. lab/kernels-log.md tells what was tried.
#include "SelectiveScan.cuh"

#ifndef SCAN_SAVES                                   // whether states are kept for the gradient
#define SCAN_SAVES (a.saved != nullptr)
#endif

// A place in shared memory in 32 bits, so that a copy costs one addition.
#ifdef HYBRID_EMULATION
using SharedPlace = char*;
__device__ __forceinline__ SharedPlace shared_place(void* pointer) { return static_cast<char*>(pointer); }
#else
using SharedPlace = unsigned;
__device__ __forceinline__ SharedPlace shared_place(void* pointer) {
    unsigned place;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(place) : "l"(pointer));
    return place;
}
#endif

// 16 bytes, or zeros if they are not `there`; nothing unless `wanted`, without a branch
__device__ __forceinline__ void copy_where(bool wanted, SharedPlace to, const void* from, bool there) {
#ifdef HYBRID_EMULATION
    if (wanted) emulation::copy_later(to, from, 16, there);
#else
    asm volatile("{ .reg .pred p; setp.ne.s32 p, %0, 0; @p cp.async.cg.shared.global [%1], [%2], 16, %3; }"
        : : "r"(static_cast<int>(wanted)), "r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
#endif
}

// One block's walk. The host sees to it that all activations have type E and lie in whole pieces of 16 bytes, and that rows are shorter than 2^30
// tokens.
template <class E> struct FewChannels {
    static constexpr bool Float = sizeof(E) == 4;
    static constexpr float Raise = Float ? 0.f : decay_raise;
    static constexpr int Tile = 16, Padded = 16, Held = 2, Lanes = Padded / Held, WarpChannels = 32 / Lanes, Warps = 4,
        Channels = Warps * WarpChannels, Threads = 32 * Warps;
    static constexpr int Size = sizeof(E), Each = 16 / Size, Stages = 4;                       // elements of a piece; tiles that are held raw
    static constexpr int RawStates = 2 * Tile * Padded, RawChannels = Tile * Channels, Stage = RawStates + 3 * RawChannels;
    // rows apart: lanes meet no bank twice
    static constexpr int StateRow = Tile + 4, States = 2 * Padded * StateRow, StepRow = 2 * Tile + 4, Steps = WarpChannels * StepRow;
    static constexpr int StatePieces = Tile * Padded / Each, ChannelPieces = Tile * Channels / Each, Pieces = 2 * StatePieces + 3 * ChannelPieces;
    static constexpr int Copies = (Pieces + Threads - 1) / Threads;                            // of a thread
    // the token number of what is past the last channel or state
    static constexpr int Missing = 1 << 30;
    // kept states: what a warp of the kernel that walks back takes at once
    static constexpr int SlotChannels = 32, Slot = SlotChannels * Padded;
    static_assert(2 * Tile * Padded == 4 * Threads && Padded == Channels,
        "a thread widens four states of a token; rows of states and of channels are alike");

    // where an element of a tile stands as it is copied: pieces change places within a row, so that the lanes that read a column meet different banks
    __device__ __forceinline__ static int placed(int token, int column) {
        constexpr int Row = Channels / Each;                                                   // 2 or 4 pieces
        return token * Channels + (column / Each ^ token / (8 / Row) % Row) * Each + column % Each;
    }

    // where among a slot's numbers its threads look for a state
    __device__ __forceinline__ static int in_slot(
        int channel, int n) { return ((channel % 2 * 2 + n % 8 / 4) * 32 + channel / 2 * 2 + n / 8) * 4 + n % 4; }

    // two numbers, of which lanes that differ in bit `Bit` each get the sum of one
    template <int Bit> __device__ __forceinline__ static float halved(float low, float high, int lane) {
        const bool upper = lane & Bit;
        return (upper ? high : low) + from_lane_xor(upper ? low : high, Bit);
    }

    __device__ __forceinline__ static void walk(const ScanArguments& a) {
        DYNAMIC_SHARED(float, shared);
        // this lane's states are s and s + Lanes
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, s = lane / 2 % Lanes, channel = lane % 2 + lane / 16 * 2;
        float *cuts = shared + 2 * States, *steps = cuts + 2 * Tile + warp * 2 * Steps;
        E* const raw = reinterpret_cast<E*>(cuts + 2 * Tile + Warps * 2 * Steps);
        const i64 perGroup = a.channels / a.groups, group = blockIdx.x / a.blocksPerGroup, row = blockIdx.y, stateToken = a.groups * a.states;
        const i64 inGroup = blockIdx.x % a.blocksPerGroup * Channels, first = group * perGroup + inGroup, left = perGroup - inGroup;
        if (!SCAN_SAVES && left <= 0) return;                                                  // but of kept states all of a slot is written
        const int count = left < Channels ? static_cast<int>(left) : Channels, length = static_cast<int>(a.length),
        tiles = (length + Tile - 1) / Tile;
        int valid = length;
        if (a.lengths) valid = static_cast<int>(a.lengths[row]);
        const int own = warp * WarpChannels + channel;
        // of prepared inputs and of results this lane has one token of two channels
        const int line = s + lane % 2 * Lanes, column = warp * WarpChannels + channel / 2 * 2;

        // b, c, x, time step and gate of a tile, piece by piece
        const char* from[Copies];
        i64 stride[Copies];
        int tokenOf[Copies];
        SharedPlace to[Copies];
        const int pieces = SCAN_GATED ? Pieces : Pieces - ChannelPieces;
#pragma unroll
        for (int i = 0; i < Copies; i++) {
            const int piece = i * Threads + threadIdx.x, tensor = piece / StatePieces, token = piece % StatePieces / (Padded / Each),
                at = piece % (Padded / Each) * Each;
            const i64 perToken = tensor < 2 ? stateToken : tensor == 2 ? a.xToken : tensor == 3 ? a.stepToken : a.gateToken;
            const i64 begin = tensor < 2 ? row * a.length * stateToken + group * a.states
                : row * (tensor == 2 ? a.xRow : tensor == 3 ? a.stepRow : a.gateRow) + first;
            const void* base = tensor == 0 ? a.b.base : tensor == 1 ? a.c.base : tensor == 2 ? a.x.base : tensor == 3 ? a.timeStep.base : a.gate.base;
            from[i] = static_cast<const char*>(base) + (begin + token * perToken + at) * Size;
            stride[i] = perToken * Tile * Size;
            tokenOf[i] = at < (tensor < 2 ? static_cast<int>(a.states) : count) ? token : Missing;
            to[i] = shared_place(raw + tensor * Tile * Padded + placed(token, at));
        }
        // where the next tile goes, in bytes; tokens from it on
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

        float state[Held], rate[Held], bias[2], skip[2];
#pragma unroll
        for (int j = 0; j < Held; j++) {
            const int n = s + j * Lanes;
            const bool there = own < count && n < a.states;
            const i64 at = (first + own) * a.states + n;
            rate[j] = there ? a.a[at] * log2_e : 0.f;
            state[j] = there && a.initial ? a.initial[row * a.channels * a.states + at] : 0.f;
        }
#pragma unroll
        for (int v = 0; v < 2; v++) {
            bias[v] = a.bias && column + v < count ? a.bias[first + column + v] : 0.f;
            skip[v] = a.skip && column + v < count ? a.skip[first + column + v] : 0.f;
        }

        // a tile is prepared in three parts: its loads and its arithmetic stand before the walk, its stores after it, since no load passes a store
        Raw<E, 2> xs, ds, gates;
        Raw<E, 4> fours;                                                                       // four states of b or c
        bool cut = false;
        const int wideToken = threadIdx.x % Tile, wide = threadIdx.x / Tile * 4,
            rawWide = wide / Padded * Tile * Padded + placed(wideToken, wide % Padded);
        const int cell = RawStates + placed(line, column);
        int looked = 0, unprepared = valid;                                                    // where the tile after lies raw; tokens from it on
        const auto look = [&](int n) {
            const E* stage = raw + looked;
            xs = load_raw<E, 2>(stage, cell);
            ds = load_raw<E, 2>(stage, cell + RawChannels);
            if (SCAN_GATED) gates = load_raw<E, 2>(stage, cell + 2 * RawChannels);
            fours = load_raw<E, 4>(stage, rawWide);
            looked = looked == (Stages - 1) * Stage ? 0 : looked + Stage;
            if (SCAN_DOCUMENTS) {
                const i64 t = static_cast<i64>(n) * Tile + wideToken;
                cut = wide == 0 && t < a.length && a.starts[row * a.length + t];
            }
        };
        // delta, delta x; skip x and gate of the tile before, this one and the next
        float both[2][2], added[3][2], factor[3][2];
        const auto prepare = [&] {
            const bool there = line < unprepared;
            unprepared -= Tile;
#pragma unroll
            for (int v = 0; v < 2; v++) {
                float d = ds[v] + bias[v];
                if (SCAN_SOFTPLUS) d = Float ? softplus<E>(d) : softplus_polynomial(d);
                both[v][0] = there ? d : 0.f;
                both[v][1] = both[v][0] * xs[v];
                added[2][v] = skip[v] * xs[v];
                if (SCAN_GATED) factor[2][v] = gates[v] * sigmoid<E>(gates[v]);
            }
        };
        float *const stepsTo = steps + channel / 2 * 2 * StepRow + 2 * line, *const statesTo = shared + wide * StateRow + wideToken;
        const auto hand_over = [&](int half) {
#pragma unroll
            for (int v = 0; v < 2; v++) store<float, 2>(stepsTo, half * Steps + v * StepRow, both[v]);
#pragma unroll
            for (int v = 0; v < 4; v++) statesTo[half * States + v * StateRow] = fours[v];
            // so little that nothing stays
            if (SCAN_DOCUMENTS && wide == 0) cuts[half * Tile + wideToken] = cut ? -1e30f : Raise;
#pragma unroll
            for (int v = 0; v < 2; v++)
                added[0][v] = added[1][v], added[1][v] = added[2][v], factor[0][v] = factor[1][v], factor[1][v] = factor[2][v];
        };

        // of the tile before, each of four tokens over four lanes
        float sums[4] = {0, 0, 0, 0};
        E* out = static_cast<E*>(a.output.base) + (row * a.length + line - Tile) * a.channels + first + column;
        const int written = column < count ? line : Missing;
        int rest = 0;                                                                          // tokens of the tile before that are written
        const auto finish = [&] {
            const float low = halved<8>(sums[0], sums[1], lane), high = halved<8>(sums[2], sums[3], lane);
            // token s of this channel and s + Lanes for two tokens of one and the other lane's channel
            const bool odd = lane % 2;
            const float other = from_lane_xor(odd ? low : high, 1);
            float values[2] = {odd ? other : low, odd ? high : other};
#pragma unroll
            for (int v = 0; v < 2; v++) values[v] = SCAN_GATED ? (values[v] + added[0][v]) * factor[0][v] : values[v] + added[0][v];
            store_where<E, 2>(written < rest, out, values);
            out += Tile * a.channels;
        };

        const i64 slotsOfGroup = (perGroup + SlotChannels - 1) / SlotChannels, slotsOfRow = a.groups * slotsOfGroup;
        float* saved = a.saved + (row * tiles * slotsOfRow + group * slotsOfGroup + inGroup / SlotChannels) * Slot;
        const int inSlot = static_cast<int>(inGroup % SlotChannels) + own;

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
            __syncthreads();                                                    // the next tile is there, and nobody needs the one before
            fetch();
            look(n + 1);
            if (SCAN_SAVES) {
#pragma unroll
                for (int j = 0; j < Held; j++) {
                    const float one[1] = {state[j]};
                    store_where<float, 1>(a.saved != nullptr, saved + in_slot(inSlot, s + j * Lanes), one);
                }
                saved += slotsOfRow * Slot;
            }
            finish();
            prepare();
            const float *b = shared + half * States + s * StateRow, *c = b + Padded * StateRow, *deltas = steps + half * Steps + channel * StepRow;
#pragma unroll
            for (int m = 0; m < Tile / 4; m++) {
                float bs[Held][4], cs[Held][4], ahead[2][4], cutoff[4] = {Raise, Raise, Raise, Raise}, parts[4];
#pragma unroll
                for (int j = 0; j < Held; j++) {
                    load<float, 4>(b, j * Lanes * StateRow + 4 * m, bs[j]);
                    load<float, 4>(c, j * Lanes * StateRow + 4 * m, cs[j]);
                }
                load<float, 4>(deltas, 8 * m, ahead[0]);
                load<float, 4>(deltas, 8 * m + 4, ahead[1]);
                if (SCAN_DOCUMENTS) load<float, 4>(cuts, half * Tile + 4 * m, cutoff);
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    const float delta = ahead[r / 2][r % 2 * 2], input = ahead[r / 2][r % 2 * 2 + 1];
#pragma unroll
                    for (int j = 0; j < Held; j++) {
                        state[j] = exp2_of<E>(delta * rate[j] + cutoff[r]) * state[j] + input * bs[j][r];
                        parts[r] = j == 0 ? state[j] * cs[j][r] : parts[r] + state[j] * cs[j][r];
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
            if (own < count && s + j * Lanes < a.states) a.final[(row * a.channels + first + own) * a.states + s + j * Lanes] = state[j];
    }
};

template <class E> __device__ __forceinline__ void scan_few(const ScanArguments& a) { FewChannels<E>::walk(a); }

#define SCAN_FEW_OF(type, E) KERNEL_OF(scan_few_forward_##type, 128, 2, ScanArguments, scan_few<E>)
#define SCAN_WITH(kernels, ...) kernels(__VA_ARGS__)

#ifdef SCAN_TYPE
SCAN_WITH(SCAN_FEW_OF, SCAN_TYPE, SCAN_ELEMENT)
#else
SCAN_FEW_OF(bfloat16, bfloat16)
SCAN_FEW_OF(float32, float)
#endif
