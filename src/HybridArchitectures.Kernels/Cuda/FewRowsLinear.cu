// y = x W^T + b for up to 16 rows of bfloat16, as decoding has it: bound by the bytes of W, 2 per element, each read once. Up to three weights share
// one launch and one x. In the same launch x can be normed before, and afterwards gate and up are combined, a residual is added, or the part of a
// decoding step that follows is done: queries and keys are turned and stored (After 1), or channels pass a causal convolution (After 2).
//
// 1. The grid has as many blocks of eight warps as fit on the multiprocessors at once: two on each where the inputs of the rows leave room for that.
//    A block takes tiles of 16 outputs (of two weights where they are gate and up) of all rows, one after another. With `index`, where every row has
//    one of several weights (experts), a tile is of one row.
// 2. The inputs are divided into units of 64; warp w takes the units w, w + 8, ... of each tile. A round is one unit of every warp. A warp copies its
//    own part of a round into shared memory, Depth rounds ahead, also into the next tile, and without waiting for the kernel before: weights do not
//    change during a step. So Depth rounds are there when the results of the kernel before arrive. Eight neighbouring lanes copy the 128 bytes of an
//    output, so that whole lines are requested: half lines take a quarter longer.
// 3. Tensor cores multiply (mma m16n8k16). Inputs are paired alike on both sides, so that the order in which tensor cores take them does not matter.
//    The sums of the warps are added up in shared memory in the order of the warps.
// A row's result does not depend on the other rows, nor on how many there are: every row takes the same operations in the same order.
//
// Shared memory: Depth rounds of 16 KiB per weight; x, (rows, inputs + 32); sums of the warps, 16 x 8 floats each.
// Bytes: for one row of a 1B model 2.47 GB per step, 0.575 ms at 4.3 TB/s. Measured: the head of 525 MB at 4.25 TB/s, gate and up at 4.17.
#include "common.cuh"
#include "tensor_cores.cuh"

#ifndef FEW_TILES
#define FEW_TILES 1             // groups of 8 rows
#define FEW_GATED 0             // whether two weights are gate and up
#define FEW_NORM 0              // 0: none; 1: RMSNorm of x; 2: RMSNorm of x silu(gate)
#define FEW_AFTER 0             // 0: a sum, if there is a residual; 1: the cache of attention; 2: a convolution of FEW_TAPS taps
#define FEW_TAPS 4
#define FEW_INDEX 0             // whether every row has one of several weights
#define FEW_DEPTH 5             // rounds that are copied ahead
#define FEW_STORED 1            // whether shared memory holds x; otherwise it is read from the second-level cache
#endif

constexpr int Tiles = FEW_TILES, Norm = FEW_NORM, After = FEW_AFTER, Taps = FEW_TAPS, Depth = FEW_DEPTH;
constexpr bool IsGated = FEW_GATED, IsIndexed = FEW_INDEX, IsStored = FEW_STORED;
constexpr int Parts = IsGated ? 2 : 1, Warps = 8, Threads = 32 * Warps, Unit = 64, Results = Tiles * 128;
// vectors of eight elements of an output's unit; vectors that a lane copies of a unit of 16 outputs
constexpr int Vectors = Unit / 8, Copies = 16 * Vectors / 32;
static_assert(IsStored || (Norm == 0 && !IsIndexed), "what is normed is stored");

// the cache that takes the outputs of the second and third weight, keys and values, after the turn of the first two; Rotary.cu has the same fields
struct FewRowsCache {
    const float *cosine, *sine;                      // (tableLength, half)
    const int* lengths;                              // (batch), tokens of each row, the new ones included
    bfloat16 *keys, *values;                         // (batch, slots, heads, size)
    i64* positions;                                  // (batch, slots), or null
    i64 length, tableLength, slots, sinks, window, size, valueSize;
    i64 keysRow, keysSlot, keysHead, valuesRow, valuesSlot, valuesHead, positionsRow;
};

// the channels from `first` on pass a convolution over the last inputs, which are replaced
struct FewRowsConvolution {
    bfloat16* state;                                 // (rows, Taps - 1, channels), newest last
    const float *weight, *bias;                      // (channels, Taps), (channels) or null
    i64 first, channels, silu;
};

struct FewRowsArguments {
    const bfloat16* x;                               // (rows, inputs)
    const bfloat16* weight[3];                       // (outputs, inputs), or (groups, outputs, inputs) with `index`
    Typed bias[3];                                   // (outputs), or null
    bfloat16* output[3];                             // (rows, outputs)
    const i64* index;                                // (rows), the group of each row
    i64 outputs[3], outputRow[3], tiles[3];
    i64 rows, inputs, xRow, rowsPerInput, groups;    // with `index`, row r reads input r / rowsPerInput
    const bfloat16* residual;                        // (rows, outputs), added to the first output, or null
    i64 residualRow;
    float* wide;                                     // (rows, outputs), to which the rounded first output goes instead, or null
    const float* scale;                              // (inputs), what the normed x is multiplied by, or null
    const bfloat16* gate;                            // (rows, inputs)
    i64 gateRow;
    FewRowsCache cache;
    FewRowsConvolution convolution;
    float epsilon;
};
static_assert(sizeof(FewRowsArguments) == (1 + 3 + 6 + 3 + 1 + 9 + 5 + 3 + 1 + 2 + 20 + 6 + 1) * 8, "as the host has it");

// what a block computes at a time: which weight, and 16 outputs; the second eight of them lie `apart` from the first
struct FewRowsTile {
    int which, first, apart, row;
    i64 group;

    __device__ __forceinline__ FewRowsTile(const FewRowsArguments& a, int tile) : which(0), apart(8), row(0), group(0) {
        if constexpr (IsIndexed) {
            row = tile / static_cast<int>(a.tiles[0]);
            tile -= row * static_cast<int>(a.tiles[0]);
            group = a.index[row];
            group = group < 0 || group >= a.groups ? 0 : group;
        }
        if constexpr (!IsGated)
            while (which < 2 && tile >= a.tiles[which]) tile -= static_cast<int>(a.tiles[which++]);
        first = tile * 16;
        if (After == 1 && which < 2) {
            // both elements of the pairs of a turn
            const int size = static_cast<int>(a.cache.size), head = first / size;
            apart = size / 2;
            first = head * size + (first - head * size) / 2;
        }
    }

    __device__ __forceinline__ int output(int number) const { return first + number % 8 + number / 8 * apart; }
};

struct FewRows {
    const FewRowsArguments& a;
    Word<16>* ring;
    bfloat16* x;
    float *sums, *squares;
    int warp, lane, inputs, rows, xRow, allTiles, rounds;

    __device__ __forceinline__ explicit FewRows(const FewRowsArguments& arguments) : a(arguments) {
        DYNAMIC_SHARED(unsigned char, all);
        inputs = static_cast<int>(a.inputs);
        rows = IsIndexed ? 1 : static_cast<int>(a.rows);
        xRow = (inputs + 63) / 64 * 64 + 32;
        rounds = (inputs + Unit * Warps - 1) / (Unit * Warps);
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        ring = reinterpret_cast<Word<16>*>(all);
        sums = reinterpret_cast<float*>(ring + Depth * Parts * Copies * Threads);
        squares = sums + Parts * Results * Warps;
        x = reinterpret_cast<bfloat16*>(squares + 16 * Warps);
        allTiles = static_cast<int>((a.tiles[0] + a.tiles[1] + a.tiles[2]) * (IsIndexed ? a.rows : 1));
    }

    // eight elements of an output in a unit of this warp; neighbouring outputs have them in another order, so that the lanes of a product read from
    // different banks
    __device__ __forceinline__ Word<16>* slot(int number, int part, int output, int vector) const {
        return ring + (((number * Parts + part) * Warps + warp) * 16 + output) * Vectors + (vector ^ output % 2 * 4);
    }

    // ---- copies ahead ----

    // where the next copies come from; Depth rounds before the products
    struct Ahead {
        int tile, round, number;
        const bfloat16* from[Parts][Copies];

        __device__ __forceinline__ void open(const FewRows& of) {
            if (tile >= of.allTiles) return;
            const FewRowsTile own(of.a, tile);
            const int outputs = static_cast<int>(of.a.outputs[own.which]);
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int i = 0; i < Copies; i++) {
                    int output = own.output((32 * i + of.lane) / Vectors);
                    if (output >= outputs) output = outputs - 1;         // read, and not written
                    from[part][i] = of.a.weight[own.which + part] + (own.group * outputs + output) * of.inputs + of.lane % Vectors * 8;
                }
        }

        __device__ __forceinline__ void copy(const FewRows& of) {
            if (tile < of.allTiles) {
                const int at = (round * Warps + of.warp) * Unit;
                const bool there = at + of.lane % Vectors * 8 < of.inputs;
#pragma unroll
                for (int part = 0; part < Parts; part++)
#pragma unroll
                    for (int i = 0; i < Copies; i++)
                        copy_async_once(of.slot(number, part, (32 * i + of.lane) / Vectors, of.lane % Vectors), from[part][i] + (there ? at : 0),
                            there);
                if (++round == of.rounds) {
                    round = 0;
                    tile += static_cast<int>(gridDim.x);
                    open(of);
                }
            }
            copy_commit();
            if (++number == Depth) number = 0;
        }
    };

    // ---- x ----

    // eight elements of a row before the norm
    __device__ __forceinline__ void entering(int row, int vector, const Raw<bfloat16, 8>& raw, float (&value)[8]) const {
        unpack<bfloat16, 8>(raw, value);
        if constexpr (Norm == 2) {
            const Raw<bfloat16, 8> gate = load_raw<bfloat16, 8>(a.gate, row * a.gateRow + 8 * vector);
#pragma unroll
            for (int i = 0; i < 8; i++) value[i] *= gate[i] * sigmoid(gate[i]);
        }
    }

    __device__ __forceinline__ Raw<bfloat16, 8>* stored(int row, int vector) const {
        return reinterpret_cast<Raw<bfloat16, 8>*>(x + row * xRow + 8 * vector);
    }

    __device__ __forceinline__ void load_rows(int from) const {
        for (int vector = threadIdx.x; vector < inputs / 8; vector += Threads)
#pragma unroll 4
            for (int row = 0; row < rows; row++) *stored(row, vector) = load_raw<bfloat16, 8>(a.x, (from + row) * a.xRow + 8 * vector);
    }

    __device__ __forceinline__ void norm_rows(const float (&early)[8]) const {
        for (int first = 0; first < rows; first += 4) {
            float sum[4] = {};
            for (int vector = threadIdx.x; vector < inputs / 8; vector += Threads)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (first + i < rows) {
                        const Raw<bfloat16, 8> raw = load_raw<bfloat16, 8>(a.x, (first + i) * a.xRow + 8 * vector);
                        float value[8];
                        entering(first + i, vector, raw, value);
                        *stored(first + i, vector) = raw;
#pragma unroll
                        for (int k = 0; k < 8; k++) sum[i] += value[k] * value[k];
                    }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sum[i] = lane_sum(sum[i], 32);
                if (lane == 0) squares[(first + i) * Warps + warp] = sum[i];
            }
        }
        __syncthreads();
        for (int row = 0; row < rows; row++) {
            float sum = 0;
#pragma unroll
            for (int i = 0; i < Warps; i++) sum += squares[row * Warps + i];
            const float inverse = reciprocal_root(sum / static_cast<float>(inputs) + a.epsilon);
            for (int vector = threadIdx.x; vector < inputs / 8; vector += Threads) {
                float value[8], scale[8];
                entering(row, vector, *stored(row, vector), value);
                if (vector == static_cast<int>(threadIdx.x)) {
#pragma unroll
                    for (int i = 0; i < 8; i++) scale[i] = early[i];
                } else channels_of<8>(a.scale, 8 * vector, 1, scale);
#pragma unroll
                for (int i = 0; i < 8; i++) value[i] *= inverse * scale[i];
                *stored(row, vector) = pack<bfloat16, 8>(value);
            }
        }
    }

    // ---- products ----

    __device__ __forceinline__ void multiply(float (&own)[Parts][Tiles][4], int number, int round) const {
        const int row = lane / 4, at = (round * Warps + warp) * Unit + lane % 4 * 8;
#pragma unroll
        for (int step = 0; step < Unit / 32; step++) {
            Word<16> input[Tiles], weight[Parts][2];
#pragma unroll
            for (int tile = 0; tile < Tiles; tile++) {
                input[tile] = {{0, 0, 0, 0}};
                if (at + 32 * step < inputs && tile * 8 + row < rows)
                    input[tile] = *reinterpret_cast<const Word<16>*>(IsStored ? x + (tile * 8 + row) * xRow + at + 32 * step
                        : a.x + (tile * 8 + row) * a.xRow + at + 32 * step);
            }
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int i = 0; i < 2; i++) weight[part][i] = *slot(number, part, row + 8 * i, lane % 4 + 4 * step);
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const unsigned left[4] = {weight[part][0].words[2 * half], weight[part][1].words[2 * half],
                        weight[part][0].words[2 * half + 1], weight[part][1].words[2 * half + 1]};
#pragma unroll
                    for (int tile = 0; tile < Tiles; tile++)
                        multiply_add(own[part][tile], left, input[tile].words[2 * half], input[tile].words[2 * half + 1]);
                }
        }
    }

    // to shared memory: of each part, tile and warp 16 outputs x 8 rows
    __device__ __forceinline__ void leave(const float (&own)[Parts][Tiles][4]) const {
        const int output = lane / 4, row = lane % 4 * 2;
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int tile = 0; tile < Tiles; tile++) {
                float* to = sums + ((part * Tiles + tile) * Warps + warp) * 128;
#pragma unroll
                for (int i = 0; i < 4; i++) to[(row + i % 2) * 16 + output + i / 2 * 8] = own[part][tile][i];
            }
    }

    // ---- what is written: result `number` of a tile by a thread ----

    struct Item {
        int tile, within, row, output;
        bool there;

        __device__ __forceinline__ Item(const FewRows& of, int number, const FewRowsTile& own) {
            tile = number / 128;
            within = number % 128;
            row = tile * 8 + within / 16;
            output = own.output(within % 16);
            there = number < Results && row < of.rows && output < static_cast<int>(of.a.outputs[own.which]);
        }
    };

    // what a result needs in addition to its sums, loaded before the products
    struct Before {
        float residual, cosine, sine, sum, filter[Taps], past[Taps];
        i64 position, slot;
    };

    static constexpr int Each = (Results + Threads - 1) / Threads;

    __device__ __forceinline__ Before load_before(const Item& item, const FewRowsTile& own) const {
        Before before = {};
        if (!item.there) return before;
        if constexpr (After == 0) {
            if (a.residual) before.residual = to_float(a.residual[item.row * a.residualRow + item.output]);
        } else if constexpr (After == 1) {
            const FewRowsCache& cache = a.cache;
            const i64 row = item.row / cache.length, position = cache.lengths[row] - cache.length + item.row % cache.length;
            const i64 slot = cache.window == 0 || position < cache.sinks ? position : cache.sinks + (position - cache.sinks) % cache.window;
            before.position = position;
            before.slot = position >= 0 && slot < cache.slots ? slot : -1;
            if (own.which < 2) {
                const i64 half = cache.size / 2, line = (position < 0 ? 0 : position < cache.tableLength ? position : cache.tableLength - 1) * half
                    + item.output % cache.size % half;
                before.cosine = cache.cosine[line];
                before.sine = cache.sine[line];
            }
        } else {
            const FewRowsConvolution& filter = a.convolution;
            const i64 channel = item.output - filter.first;
            if (channel < 0 || channel >= filter.channels) return before;
            before.sum = filter.bias ? filter.bias[channel] : 0;
#pragma unroll
            for (int k = 0; k < Taps; k++) before.filter[k] = filter.weight[channel * Taps + k];
#pragma unroll
            for (int k = 0; k < Taps - 1; k++) before.past[k] = to_float(filter.state[(item.row * (Taps - 1) + k) * filter.channels + channel]);
        }
        return before;
    }

    __device__ __forceinline__ float result(int part, int tile, int within, const Typed& bias, int output) const {
        const float* from = sums + (part * Tiles + tile) * Warps * 128 + within;
        float sum = 0;
#pragma unroll
        for (int i = 0; i < Warps; i++) sum += from[i * 128];
        return bias.base ? sum + bias[output] : sum;
    }

    __device__ __forceinline__ float rounded_result(int part, const Item& item, int within, const Typed& bias, int output) const {
        return to_float(from_float<bfloat16>(result(part, item.tile, within, bias, output)));
    }

    __device__ __forceinline__ void write_cache(const Item& item, const Before& before, const FewRowsTile& own, float value) const {
        const FewRowsCache& cache = a.cache;
        const i64 row = item.row / cache.length;
        if (own.which < 2) {
            const bool second = item.within % 16 >= 8;
            const int other = second ? item.output - own.apart : item.output + own.apart;
            const float pair = rounded_result(0, item, item.within ^ 8, a.bias[own.which], other);
            value = second ? value * before.cosine + pair * before.sine : value * before.cosine - pair * before.sine;
        }
        const bfloat16 bits = from_float<bfloat16>(value);
        if (own.which == 0) a.output[0][item.row * a.outputRow[0] + item.output] = bits;
        else if (before.slot >= 0) {
            const i64 size = own.which == 1 ? cache.size : cache.valueSize, head = item.output / size, element = item.output % size;
            if (own.which == 1) cache.keys[row * cache.keysRow + before.slot * cache.keysSlot + head * cache.keysHead + element] = bits;
            else cache.values[row * cache.valuesRow + before.slot * cache.valuesSlot + head * cache.valuesHead + element] = bits;
            if (own.which == 1 && item.output == 0 && cache.positions) cache.positions[row * cache.positionsRow + before.slot] = before.position;
        }
    }

    __device__ __forceinline__ float convolved(const Item& item, const Before& before, float value) const {
        const FewRowsConvolution& filter = a.convolution;
        const i64 channel = item.output - filter.first;
        if (channel < 0 || channel >= filter.channels) return value;
        float sum = before.sum;
#pragma unroll
        for (int k = 0; k < Taps - 1; k++) sum += before.filter[k] * before.past[k];
        sum += before.filter[Taps - 1] * value;
#pragma unroll
        for (int k = 0; k < Taps - 1; k++)
            filter.state[(item.row * (Taps - 1) + k) * filter.channels + channel] = from_float<bfloat16>(k < Taps - 2 ? before.past[k + 1] : value);
        return filter.silu ? sum * sigmoid(sum) : sum;
    }

    __device__ __forceinline__ void write(const Before (&before)[Each], const FewRowsTile& own) const {
#pragma unroll
        for (int i = 0; i < Each; i++) {
            const Item item(*this, i * Threads + threadIdx.x, own);
            if (!item.there) continue;
            if constexpr (After == 1) {
                write_cache(item, before[i], own, rounded_result(0, item, item.within, a.bias[own.which], item.output));
                continue;
            }
            float value = result(0, item.tile, item.within, a.bias[own.which], item.output);
            // rounded as the separate results would be
            if constexpr (IsGated) {
                const float gate = to_float(from_float<bfloat16>(value)), up = rounded_result(1, item, item.within, a.bias[1], item.output);
                value = gate * sigmoid(gate) * up;
            } else if constexpr (After == 2) value = convolved(item, before[i], to_float(from_float<bfloat16>(value)));
            else if (a.residual) value = to_float(from_float<bfloat16>(value)) + before[i].residual;
            const bfloat16 bits = from_float<bfloat16>(value);
            const i64 at = (own.row + item.row) * a.outputRow[own.which] + item.output;
            if (a.wide) a.wide[at] = to_float(bits);
            else a.output[own.which][at] = bits;
        }
    }

    __device__ __forceinline__ void load_all_before(Before (&before)[Each], const FewRowsTile& own) const {
#pragma unroll
        for (int i = 0; i < Each; i++) before[i] = load_before(Item(*this, i * Threads + threadIdx.x, own), own);
    }

    __device__ __forceinline__ void compute_tile(const FewRowsTile& own, const Before (&before)[Each], Ahead& ahead) const {
        float mine[Parts][Tiles][4] = {};
        if constexpr (IsIndexed) {
            load_rows(static_cast<int>(own.row / a.rowsPerInput));
            __syncthreads();
        }
        for (int round = 0; round < rounds; round++) {
            copy_wait<Depth - 1>();
            sync_warp();
            multiply(mine, ahead.number, round);
            sync_warp();
            ahead.copy(*this);
        }
        leave(mine);
        __syncthreads();
        write(before, own);
        __syncthreads();
    }

    __device__ __forceinline__ void run() const {
        Ahead ahead = {static_cast<int>(blockIdx.x), 0, 0, {}};
        float early[8];
        if constexpr (IsIndexed) wait_for_previous();                // the router is among the kernels before
        else if constexpr (Norm != 0) channels_of<8>(static_cast<int>(threadIdx.x) < inputs / 8 ? a.scale : nullptr, 8 * threadIdx.x, 1, early);
        ahead.open(*this);
        for (int i = 0; i < Depth; i++) ahead.copy(*this);
        FewRowsTile own(a, static_cast<int>(blockIdx.x));
        Before before[Each];
        // lengths, tables and states of convolutions are those of the step before: no kernel of this step has written them since its first product
        if constexpr (After != 0) load_all_before(before, own);
        if constexpr (!IsIndexed) {
            wait_for_previous();
            if constexpr (Norm != 0) norm_rows(early);
            else if constexpr (IsStored) load_rows(0);
            __syncthreads();
        }
        if constexpr (After == 0) load_all_before(before, own);
        for (int tile = static_cast<int>(blockIdx.x); tile < allTiles;) {
            compute_tile(own, before, ahead);
            tile += static_cast<int>(gridDim.x);
            if (tile >= allTiles) break;
            own = FewRowsTile(a, tile);
            load_all_before(before, own);
        }
        copy_wait<0>();
    }
};

__device__ __forceinline__ void few_rows_(const FewRowsArguments& a) { FewRows(a).run(); }

KERNEL_EARLY(few_rows, 256, FewRowsArguments, few_rows_)
