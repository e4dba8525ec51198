// Computes y = x W^T + b for up to 16 rows of bfloat16, as in decoding. The limit is reading W once, 2 bytes per element. Up to three weights share
// one launch and one x. The same launch can norm x before. Afterwards, it can combine gate and up, add a residual, or do the next part of a decoding
// step: rotate queries and keys and write the cache (After 1), or apply a causal convolution to some channels (After 2).
//
// 1. The grid has as many blocks of eight warps as fit on the multiprocessors at once: two on each if the inputs of the rows leave room for that.
//    A block computes tiles of 16 outputs (of two weights if they are gate and up) of all rows, one after another. With `index`, every row has one of
//    several weights (experts), and a tile has one row.
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

// The cache that receives keys and values, the outputs of the second and third weight. The outputs of the first two are rotated. Rotary.cu has the
// same fields.
struct FewRowsCache {
    const float *cosine, *sine;                      // (tableLength, half)
    const int* lengths;                              // (batch), tokens of each row, the new ones included
    bfloat16 *keys, *values;                         // (batch, slots, heads, size)
    i64* positions;                                  // (batch, slots), or null
    i64 length, tableLength, slots, sinks, window, size, valueSize;
    i64 keysRow, keysSlot, keysHead, valuesRow, valuesSlot, valuesHead, positionsRow;
};

// The convolution of the channels from `first` on. It reads and replaces the last inputs. Rows are `length` tokens of each sequence.
struct FewRowsConvolution {
    bfloat16* state;                                 // (sequences, Taps - 1, channels), newest last
    const float *weight, *bias;                      // (channels, Taps), (channels) or null
    i64 first, channels, silu, length;
    bfloat16 *before, *inputs;                       // with several tokens: the state before them, and the inputs (rows, channels); or null
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
static_assert(sizeof(FewRowsArguments) == (1 + 3 + 6 + 3 + 1 + 9 + 5 + 3 + 1 + 2 + 20 + 9 + 1) * 8, "as the host has it");

// What a block computes at a time: 16 outputs of one weight. The second eight outputs start `second_half` after the first eight.
struct FewRowsTile {
    int weight_index, first, second_half, row;
    i64 group;

    __device__ __forceinline__ FewRowsTile(const FewRowsArguments& args, int tile) : weight_index(0), second_half(8), row(0), group(0) {
        if constexpr (IsIndexed) {
            row = tile / static_cast<int>(args.tiles[0]);
            tile -= row * static_cast<int>(args.tiles[0]);
            group = args.index[row];
            group = group < 0 || group >= args.groups ? 0 : group;
        }
        if constexpr (!IsGated)
            while (weight_index < 2 && tile >= args.tiles[weight_index]) tile -= static_cast<int>(args.tiles[weight_index++]);
        first = tile * 16;
        if (After == 1 && weight_index < 2) {
            // both elements of the pairs that are rotated
            const int size = static_cast<int>(args.cache.size), head = first / size;
            second_half = size / 2;
            first = head * size + (first - head * size) / 2;
        }
    }

    __device__ __forceinline__ int output(int number) const { return first + number % 8 + number / 8 * second_half; }
};

struct FewRows {
    const FewRowsArguments& args;
    Word<16>* ring;
    bfloat16* x;
    float *sums, *squares;
    int warp, lane, inputs, rows, x_row, all_tiles, rounds;

    __device__ __forceinline__ explicit FewRows(const FewRowsArguments& arguments) : args(arguments) {
        DYNAMIC_SHARED(unsigned char, all);
        inputs = static_cast<int>(args.inputs);
        rows = IsIndexed ? 1 : static_cast<int>(args.rows);
        x_row = (inputs + 63) / 64 * 64 + 32;
        rounds = (inputs + Unit * Warps - 1) / (Unit * Warps);
        warp = uniform(threadIdx.x / 32);
        lane = threadIdx.x % 32;
        ring = reinterpret_cast<Word<16>*>(all);
        sums = reinterpret_cast<float*>(ring + Depth * Parts * Copies * Threads);
        squares = sums + Parts * Results * Warps;
        x = reinterpret_cast<bfloat16*>(squares + 16 * Warps);
        all_tiles = static_cast<int>((args.tiles[0] + args.tiles[1] + args.tiles[2]) * (IsIndexed ? args.rows : 1));
    }

    // The place of eight elements of an output in a unit of this warp. The order differs between neighbouring outputs, so that the lanes of a product
    // read from different banks.
    __device__ __forceinline__ Word<16>* slot(int number, int part, int output, int vector) const {
        return ring + (((number * Parts + part) * Warps + warp) * 16 + output) * Vectors + (vector ^ output % 2 * 4);
    }

    // ---- copies ahead ----

    // the source of the next copies, which are Depth rounds ahead of the products
    struct CopyAhead {
        int tile, round, ring_round;
        const bfloat16* from[Parts][Copies];

        __device__ __forceinline__ void start_tile(const FewRows& block) {
            if (tile >= block.all_tiles) return;
            const FewRowsTile target(block.args, tile);
            const int outputs = static_cast<int>(block.args.outputs[target.weight_index]);
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int i = 0; i < Copies; i++) {
                    int output = target.output((32 * i + block.lane) / Vectors);
                    if (output >= outputs) output = outputs - 1;         // is read, but its result is not written
                    from[part][i] = block.args.weight[target.weight_index + part] + (target.group * outputs + output) * block.inputs
                        + block.lane % Vectors * 8;
                }
        }

        __device__ __forceinline__ void copy_round(const FewRows& block) {
            if (tile < block.all_tiles) {
                const int column = (round * Warps + block.warp) * Unit;
                const bool exists = column + block.lane % Vectors * 8 < block.inputs;
#pragma unroll
                for (int part = 0; part < Parts; part++)
#pragma unroll
                    for (int i = 0; i < Copies; i++)
                        copy_async_once(block.slot(ring_round, part, (32 * i + block.lane) / Vectors, block.lane % Vectors),
                            from[part][i] + (exists ? column : 0), exists);
                if (++round == block.rounds) {
                    round = 0;
                    tile += static_cast<int>(gridDim.x);
                    start_tile(block);
                }
            }
            copy_commit();
            if (++ring_round == Depth) ring_round = 0;
        }
    };

    // ---- x ----

    // computes eight elements of a row before the norm
    __device__ __forceinline__ void norm_input(int row, int vector, const Raw<bfloat16, 8>& raw, float (&value)[8]) const {
        unpack<bfloat16, 8>(raw, value);
        if constexpr (Norm == 2) {
            const Raw<bfloat16, 8> gate = load_raw<bfloat16, 8>(args.gate, row * args.gateRow + 8 * vector);
#pragma unroll
            for (int i = 0; i < 8; i++) value[i] *= gate[i] * sigmoid(gate[i]);
        }
    }

    __device__ __forceinline__ Raw<bfloat16, 8>* stored_vector(int row, int vector) const {
        return reinterpret_cast<Raw<bfloat16, 8>*>(x + row * x_row + 8 * vector);
    }

    __device__ __forceinline__ void load_rows(int from) const {
        for (int vector = threadIdx.x; vector < inputs / 8; vector += Threads)
#pragma unroll 4
            for (int row = 0; row < rows; row++) *stored_vector(row, vector) = load_raw<bfloat16, 8>(args.x, (from + row) * args.xRow + 8 * vector);
    }

    __device__ __forceinline__ void norm_rows(const float (&early_scale)[8]) const {
        for (int first = 0; first < rows; first += 4) {
            float sum[4] = {};
            for (int vector = threadIdx.x; vector < inputs / 8; vector += Threads)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (first + i < rows) {
                        const Raw<bfloat16, 8> raw = load_raw<bfloat16, 8>(args.x, (first + i) * args.xRow + 8 * vector);
                        float value[8];
                        norm_input(first + i, vector, raw, value);
                        *stored_vector(first + i, vector) = raw;
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
            const float inverse = reciprocal_root(sum / static_cast<float>(inputs) + args.epsilon);
            for (int vector = threadIdx.x; vector < inputs / 8; vector += Threads) {
                float value[8], scale[8];
                norm_input(row, vector, *stored_vector(row, vector), value);
                if (vector == static_cast<int>(threadIdx.x)) {
#pragma unroll
                    for (int i = 0; i < 8; i++) scale[i] = early_scale[i];
                } else channels_of<8>(args.scale, 8 * vector, 1, scale);
#pragma unroll
                for (int i = 0; i < 8; i++) value[i] *= inverse * scale[i];
                *stored_vector(row, vector) = pack<bfloat16, 8>(value);
            }
        }
    }

    // ---- products ----

    __device__ __forceinline__ void multiply(float (&products)[Parts][Tiles][4], int number, int round) const {
        const int row = lane / 4, column = (round * Warps + warp) * Unit + lane % 4 * 8;
#pragma unroll
        for (int part_of_unit = 0; part_of_unit < Unit / 32; part_of_unit++) {
            Word<16> input[Tiles], weight[Parts][2];
#pragma unroll
            for (int tile = 0; tile < Tiles; tile++) {
                input[tile] = {{0, 0, 0, 0}};
                if (column + 32 * part_of_unit < inputs && tile * 8 + row < rows)
                    input[tile] = *reinterpret_cast<const Word<16>*>(IsStored ? x + (tile * 8 + row) * x_row + column + 32 * part_of_unit
                        : args.x + (tile * 8 + row) * args.xRow + column + 32 * part_of_unit);
            }
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int i = 0; i < 2; i++) weight[part][i] = *slot(number, part, row + 8 * i, lane % 4 + 4 * part_of_unit);
#pragma unroll
            for (int part = 0; part < Parts; part++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const unsigned left[4] = {weight[part][0].words[2 * half], weight[part][1].words[2 * half],
                        weight[part][0].words[2 * half + 1], weight[part][1].words[2 * half + 1]};
#pragma unroll
                    for (int tile = 0; tile < Tiles; tile++)
                        multiply_add(products[part][tile], left, input[tile].words[2 * half], input[tile].words[2 * half + 1]);
                }
        }
    }

    // stores the sums in shared memory: 16 outputs x 8 rows for each part, tile and warp
    __device__ __forceinline__ void store_sums(const float (&products)[Parts][Tiles][4]) const {
        const int output = lane / 4, row = lane % 4 * 2;
#pragma unroll
        for (int part = 0; part < Parts; part++)
#pragma unroll
            for (int tile = 0; tile < Tiles; tile++) {
                float* to = sums + ((part * Tiles + tile) * Warps + warp) * 128;
#pragma unroll
                for (int i = 0; i < 4; i++) to[(row + i % 2) * 16 + output + i / 2 * 8] = products[part][tile][i];
            }
    }

    // ---- writing: a thread writes result `number` of a tile ----

    struct Item {
        int tile, index_in_tile, row, output;
        bool exists;

        __device__ __forceinline__ Item(const FewRows& block, int number, const FewRowsTile& target) {
            tile = number / 128;
            index_in_tile = number % 128;
            row = tile * 8 + index_in_tile / 16;
            output = target.output(index_in_tile % 16);
            exists = number < Results && row < block.rows && output < static_cast<int>(block.args.outputs[target.weight_index]);
        }
    };

    // what a result needs in addition to its sums; it is loaded before the products
    struct Before {
        float residual, cosine, sine, sum, filter[Taps], past[Taps];
        i64 position, slot;
    };

    static constexpr int ItemsPerThread = (Results + Threads - 1) / Threads;

    __device__ __forceinline__ Before load_before(const Item& item, const FewRowsTile& target) const {
        Before before = {};
        if (!item.exists) return before;
        if constexpr (After == 0) {
            if (args.residual) before.residual = to_float(args.residual[item.row * args.residualRow + item.output]);
        } else if constexpr (After == 1) {
            const FewRowsCache& cache = args.cache;
            const i64 row = item.row / cache.length, position = cache.lengths[row] - cache.length + item.row % cache.length;
            const i64 slot = cache.window == 0 || position < cache.sinks ? position : cache.sinks + (position - cache.sinks) % cache.window;
            before.position = position;
            before.slot = position >= 0 && slot < cache.slots ? slot : -1;
            if (target.weight_index < 2) {
                const i64 half = cache.size / 2, line = (position < 0 ? 0 : position < cache.tableLength ? position : cache.tableLength - 1) * half
                    + item.output % cache.size % half;
                before.cosine = cache.cosine[line];
                before.sine = cache.sine[line];
            }
        } else {
            const FewRowsConvolution& filter = args.convolution;
            const i64 channel = item.output - filter.first;
            if (channel < 0 || channel >= filter.channels) return before;
            before.sum = filter.bias ? filter.bias[channel] : 0;
#pragma unroll
            for (int k = 0; k < Taps; k++) before.filter[k] = filter.weight[channel * Taps + k];
            const int length = static_cast<int>(filter.length), sequence = item.row / length, token = item.row - sequence * length;
            const bfloat16* state = filter.state + static_cast<i64>(sequence) * (Taps - 1) * filter.channels + channel;
            // inputs of earlier tokens of the launch are results of other threads
#pragma unroll
            for (int k = 0; k < Taps - 1; k++)
                if (k + token < Taps - 1) before.past[k] = to_float(state[(k + token) * filter.channels]);
        }
        return before;
    }

    __device__ __forceinline__ float result(int part, int tile, int index_in_tile, const Typed& bias, int output) const {
        const float* from = sums + (part * Tiles + tile) * Warps * 128 + index_in_tile;
        float sum = 0;
#pragma unroll
        for (int i = 0; i < Warps; i++) sum += from[i * 128];
        return bias.base ? sum + bias[output] : sum;
    }

    __device__ __forceinline__ float rounded_result(int part, const Item& item, int index_in_tile, const Typed& bias, int output) const {
        return to_float(from_float<bfloat16>(result(part, item.tile, index_in_tile, bias, output)));
    }

    __device__ __forceinline__ void write_cache(const Item& item, const Before& before, const FewRowsTile& target, float value) const {
        const FewRowsCache& cache = args.cache;
        const i64 row = item.row / cache.length;
        if (target.weight_index < 2) {
            const bool second = item.index_in_tile % 16 >= 8;
            const int other = second ? item.output - target.second_half : item.output + target.second_half;
            const float pair = rounded_result(0, item, item.index_in_tile ^ 8, args.bias[target.weight_index], other);
            value = second ? value * before.cosine + pair * before.sine : value * before.cosine - pair * before.sine;
        }
        const bfloat16 bits = from_float<bfloat16>(value);
        if (target.weight_index == 0) args.output[0][item.row * args.outputRow[0] + item.output] = bits;
        else if (before.slot >= 0) {
            const i64 size = target.weight_index == 1 ? cache.size : cache.valueSize, head = item.output / size, element = item.output % size;
            if (target.weight_index == 1) cache.keys[row * cache.keysRow + before.slot * cache.keysSlot + head * cache.keysHead + element] = bits;
            else cache.values[row * cache.valuesRow + before.slot * cache.valuesSlot + head * cache.valuesHead + element] = bits;
            if (target.weight_index == 1 && item.output == 0 && cache.positions)
                cache.positions[row * cache.positionsRow + before.slot] = before.position;
        }
    }

    __device__ __forceinline__ float convolved(const Item& item, const Before& before, float value) const {
        const FewRowsConvolution& filter = args.convolution;
        const i64 channel = item.output - filter.first;
        if (channel < 0 || channel >= filter.channels) return value;
        const int length = static_cast<int>(filter.length), sequence = item.row / length, token = item.row - sequence * length;
        float past[Taps - 1], sum = before.sum;
#pragma unroll
        for (int k = 0; k < Taps - 1; k++) {
            const int back = Taps - 1 - k, row = item.row - back;
            past[k] = before.past[k];
            if (back <= token)
                past[k] = to_float(from_float<bfloat16>(
                    result(0, row / 8, row % 8 * 16 + item.index_in_tile % 16, args.bias[0], item.output)));
            sum += before.filter[k] * past[k];
        }
        sum += before.filter[Taps - 1] * value;
        const i64 at = static_cast<i64>(sequence) * (Taps - 1) * filter.channels + channel;
        if (token == 0 && filter.before)
#pragma unroll
            for (int k = 0; k < Taps - 1; k++) filter.before[at + k * filter.channels] = from_float<bfloat16>(past[k]);
        if (filter.inputs) filter.inputs[item.row * filter.channels + channel] = from_float<bfloat16>(value);
        if (token == length - 1)
#pragma unroll
            for (int k = 0; k < Taps - 1; k++)
                filter.state[at + k * filter.channels] = from_float<bfloat16>(k < Taps - 2 ? past[k + 1] : value);
        return filter.silu ? sum * sigmoid(sum) : sum;
    }

    __device__ __forceinline__ void write(const Before (&before)[ItemsPerThread], const FewRowsTile& target) const {
#pragma unroll
        for (int i = 0; i < ItemsPerThread; i++) {
            const Item item(*this, i * Threads + threadIdx.x, target);
            if (!item.exists) continue;
            if constexpr (After == 1) {
                write_cache(item, before[i], target, rounded_result(0, item, item.index_in_tile, args.bias[target.weight_index], item.output));
                continue;
            }
            float value = result(0, item.tile, item.index_in_tile, args.bias[target.weight_index], item.output);
            // round as separate products would do
            if constexpr (IsGated) {
                const float gate = to_float(from_float<bfloat16>(value)), up = rounded_result(1, item, item.index_in_tile, args.bias[1], item.output);
                value = gate * sigmoid(gate) * up;
            } else if constexpr (After == 2) value = convolved(item, before[i], to_float(from_float<bfloat16>(value)));
            else if (args.residual) value = to_float(from_float<bfloat16>(value)) + before[i].residual;
            const bfloat16 bits = from_float<bfloat16>(value);
            const i64 at = (target.row + item.row) * args.outputRow[target.weight_index] + item.output;
            if (args.wide) args.wide[at] = to_float(bits);
            else args.output[target.weight_index][at] = bits;
        }
    }

    __device__ __forceinline__ void load_all_before(Before (&before)[ItemsPerThread], const FewRowsTile& target) const {
#pragma unroll
        for (int i = 0; i < ItemsPerThread; i++) before[i] = load_before(Item(*this, i * Threads + threadIdx.x, target), target);
    }

    __device__ __forceinline__ void compute_tile(const FewRowsTile& target, const Before (&before)[ItemsPerThread], CopyAhead& copy_ahead) const {
        float products[Parts][Tiles][4] = {};
        if constexpr (IsIndexed) {
            load_rows(static_cast<int>(target.row / args.rowsPerInput));
            __syncthreads();
        }
        for (int round = 0; round < rounds; round++) {
            copy_wait<Depth - 1>();
            sync_warp();
            multiply(products, copy_ahead.ring_round, round);
            sync_warp();
            copy_ahead.copy_round(*this);
        }
        store_sums(products);
        __syncthreads();
        write(before, target);
        __syncthreads();
    }

    __device__ __forceinline__ void run() const {
        CopyAhead copy_ahead = {static_cast<int>(blockIdx.x), 0, 0, {}};
        float early_scale[8];
        if constexpr (IsIndexed) wait_for_previous();                // one of the previous kernels is the router
        else if constexpr (Norm != 0)
            channels_of<8>(static_cast<int>(threadIdx.x) < inputs / 8 ? args.scale : nullptr, 8 * threadIdx.x, 1, early_scale);
        copy_ahead.start_tile(*this);
        for (int i = 0; i < Depth; i++) copy_ahead.copy_round(*this);
        FewRowsTile target(args, static_cast<int>(blockIdx.x));
        Before before[ItemsPerThread];
        // no kernel of this step has written lengths, tables or states of convolutions since its first product
        if constexpr (After != 0) load_all_before(before, target);
        if constexpr (!IsIndexed) {
            wait_for_previous();
            if constexpr (Norm != 0) norm_rows(early_scale);
            else if constexpr (IsStored) load_rows(0);
            __syncthreads();
        }
        if constexpr (After == 0) load_all_before(before, target);
        for (int tile = static_cast<int>(blockIdx.x); tile < all_tiles;) {
            compute_tile(target, before, copy_ahead);
            tile += static_cast<int>(gridDim.x);
            if (tile >= all_tiles) break;
            target = FewRowsTile(args, tile);
            load_all_before(before, target);
        }
        copy_wait<0>();
    }
};

__device__ __forceinline__ void run_few_rows(const FewRowsArguments& args) { FewRows(args).run(); }

KERNEL_EARLY(few_rows, 256, FewRowsArguments, run_few_rows)
