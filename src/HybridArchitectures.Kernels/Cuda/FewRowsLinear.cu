// y = x W^T + b for up to 16 rows of bfloat16, as decoding has it: bound by the bytes of W, 2 an element, each read once. Up to three weights
// share one launch
// and one x; `gated` computes silu(x G^T + g) * (x U^T + u) from two weights at once; with `index` every row has one of several weights
// (experts).
//
// A block computes 16 outputs of all rows; its warps share the inputs and add their sums up in shared memory, in the order of the warps. A warp
// multiplies by
// tensor cores (mma m16n8k16), 32 inputs at a time: a lane loads 8 neighbouring inputs of two outputs and of one row of x, 16 bytes each, straight
// into the
// registers that the product reads. Inputs are paired alike on both sides, so that the order in which tensor cores take them does not matter.
// A row's result does not depend on the other rows, nor on how many there are: every row takes the same operations in the same order.
//
// Registers: 4 steps of 32 inputs are loaded before the first is used, 64 bytes a lane and step of W. Shared memory: the sums, 16 x 8 floats a
// warp and 8 rows.
#include "common.cuh"
#include "tensor_cores.cuh"

struct FewRowsArguments {
    const bfloat16* x;                               // (rows, inputs)
    const bfloat16* weight[3];                       // (outputs, inputs), or (groups, outputs, inputs) with `index`
    Typed bias[3];                                   // (outputs), or null
    bfloat16* output[3];                             // (rows, outputs)
    const i64* index;                                // (rows), the group of each row, or null
    i64 outputs[3], outputRow[3], blocks[3];
    i64 rows, inputs, xRow, rowsPerInput, groups;    // row r reads input r / rowsPerInput
};

// what is read once does not stay in the first-level cache
__device__ __forceinline__ Word<16> load_once(const bfloat16* from) {
#ifdef HYBRID_EMULATION
    return *reinterpret_cast<const Word<16>*>(from);
#else
    Word<16> word;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(word.words[0]), "=r"(word.words[1]), "=r"(word.words[2]), "=r"(word.words[3]) : "l"(from));
    return word;
#endif
}

__device__ __forceinline__ Word<16> load_or_zeros(const bfloat16* from, bool there, bool once) {
    if (!there) return {{0, 0, 0, 0}};
    return once ? load_once(from) : *reinterpret_cast<const Word<16>*>(from);
}

// asks for the weights of a warp's share of the inputs, so that they are on their way while the kernel before ends
template <int Weights, int Warps> __device__ __forceinline__ void ask_for(const bfloat16* const (&weights)[Weights][2], i64 inputs) {
#ifndef HYBRID_EMULATION
    const int steps = static_cast<int>((inputs + 31) / 32), warp = threadIdx.x / 32;
    const i64 first = static_cast<i64>(steps * warp / Warps) * 32, last = static_cast<i64>(steps * (warp + 1) / Warps) * 32;
    // the four lanes of an output take lines of 128 bytes in turn
    for (i64 at = first + threadIdx.x % 4 * 64; at < last && at < inputs; at += 256)
#pragma unroll
        for (int w = 0; w < Weights; w++)
#pragma unroll
            for (int i = 0; i < 2; i++) asm volatile("prefetch.global.L2 [%0];" : : "l"(weights[w][i] + at));
#endif
}

template <int Tiles, int Warps, int Weights> struct FewRows {
    static constexpr int Unroll = Tiles * Weights > 2 ? 2 : 4;
    float sums[Weights][Tiles][4];

    // one step: 32 inputs as two products of 16
    __device__ __forceinline__ void multiply(const Word<16> (&weight)[Weights][2], const Word<16> (&input)[Tiles]) {
#pragma unroll
        for (int w = 0; w < Weights; w++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const unsigned a[4] = {weight[w][0].words[2 * half], weight[w][1].words[2 * half], weight[w][0].words[2 * half + 1],
                    weight[w][1].words[2 * half + 1]};
#pragma unroll
                for (int tile = 0; tile < Tiles; tile++) multiply_add(sums[w][tile], a, input[tile].words[2 * half], input[tile].words[2 * half + 1]);
            }
    }

    // weights: where this lane's two outputs begin; x: where its row of each tile begins
    __device__ __forceinline__ void run(const bfloat16* const (&weights)[Weights][2], const bfloat16* const (&x)[Tiles],
        const bool (&present)[Tiles], i64 inputs) {
#pragma unroll
        for (int w = 0; w < Weights; w++)
#pragma unroll
            for (int tile = 0; tile < Tiles; tile++)
#pragma unroll
                for (int i = 0; i < 4; i++) sums[w][tile][i] = 0;
        const int steps = static_cast<int>((inputs + 31) / 32), warp = threadIdx.x / 32, last = steps * (warp + 1) / Warps;
        const int lane = threadIdx.x % 4 * 8;
        for (int step = steps * warp / Warps; step < last; step += Unroll) {
            Word<16> weight[Unroll][Weights][2], input[Unroll][Tiles];
#pragma unroll
            for (int u = 0; u < Unroll; u++) {
                const i64 at = static_cast<i64>(step + u) * 32 + lane;
                const bool inside = step + u < last && at < inputs;
#pragma unroll
                for (int w = 0; w < Weights; w++)
#pragma unroll
                    for (int i = 0; i < 2; i++) weight[u][w][i] = load_or_zeros(weights[w][i] + at, inside, true);
#pragma unroll
                for (int tile = 0; tile < Tiles; tile++) input[u][tile] = load_or_zeros(x[tile] + at, inside && present[tile], false);
            }
#pragma unroll
            for (int u = 0; u < Unroll; u++) multiply(weight[u], input[u]);
        }
    }

    // to shared memory: of each weight, tile and warp 16 outputs x 8 rows
    __device__ __forceinline__ void leave(float* shared) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, output = lane / 4, row = lane % 4 * 2;
#pragma unroll
        for (int w = 0; w < Weights; w++)
#pragma unroll
            for (int tile = 0; tile < Tiles; tile++) {
                float* to = shared + ((w * Tiles + tile) * Warps + warp) * 128;
#pragma unroll
                for (int i = 0; i < 4; i++) to[(row + i % 2) * 16 + output + i / 2 * 8] = sums[w][tile][i];
            }
    }
};

template <int Warps> __device__ __forceinline__ float summed(const float* shared, int at) {
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < Warps; warp++) sum += shared[warp * 128 + at];
    return sum;
}

__device__ __forceinline__ float biased(float sum, const Typed& bias, i64 output) { return bias.base ? sum + bias[output] : sum; }

template <int Tiles, int Warps, bool Gated> __device__ __forceinline__ void few_rows(const FewRowsArguments& a) {
    constexpr int Weights = Gated ? 2 : 1;
    DYNAMIC_SHARED(float, shared);
    int block = blockIdx.x, which = 0;
    if constexpr (!Gated)
        while (which < 2 && block >= a.blocks[which]) block -= static_cast<int>(a.blocks[which++]);
    const i64 first = static_cast<i64>(block) * 16, outputs = a.outputs[which], firstRow = a.index ? blockIdx.y : 0, rows = a.index ? firstRow + 1
        : a.rows;
    if (a.index) wait_for_previous();                // the router is among the kernels before
    i64 group = a.index ? a.index[firstRow] : 0;
    group = group < 0 || group >= a.groups ? 0 : group;
    const int lane = threadIdx.x % 32, own = lane / 4;
    const bfloat16 *weights[Weights][2], *x[Tiles];
    bool present[Tiles];
#pragma unroll
    for (int w = 0; w < Weights; w++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            i64 output = first + own + 8 * i;
            if (output >= outputs) output = outputs - 1;         // read, and not written
            weights[w][i] = a.weight[which + w] + (group * outputs + output) * a.inputs;
        }
    if (!a.index) {
        ask_for<Weights, Warps>(weights, a.inputs);
        wait_for_previous();
    }
#pragma unroll
    for (int tile = 0; tile < Tiles; tile++) {
        const i64 row = firstRow + tile * 8 + own;
        present[tile] = row < rows;
        x[tile] = a.x + (present[tile] ? row / a.rowsPerInput : 0) * a.xRow;
    }
    FewRows<Tiles, Warps, Weights> products;
    products.run(weights, x, present, a.inputs);
    products.leave(shared);
    __syncthreads();
    for (int at = threadIdx.x; at < Tiles * 128; at += Warps * 32) {
        const int tile = at / 128, within = at % 128;
        const i64 row = firstRow + tile * 8 + within / 16, output = first + within % 16;
        if (row >= rows || output >= outputs) continue;
        float value = biased(summed<Warps>(shared + tile * Warps * 128, within), a.bias[which], output);
        if constexpr (Gated) {
            // rounded as the separate results would be
            const float gate = to_float(from_float<bfloat16>(value));
            const float up = to_float(from_float<bfloat16>(biased(summed<Warps>(shared + (Tiles + tile) * Warps * 128, within), a.bias[1], output)));
            value = gate * sigmoid(gate) * up;
        }
        a.output[which][row * a.outputRow[which] + output] = from_float<bfloat16>(value);
    }
}

#define FEW_ROWS(tiles, warps) \
    KERNEL_EARLY(few_rows_##tiles##_##warps, warps * 32, FewRowsArguments, few_rows<tiles, warps, false>) \
    KERNEL_EARLY(few_rows_gated_##tiles##_##warps, warps * 32, FewRowsArguments, few_rows<tiles, warps, true>)

FEW_ROWS(1, 8)
FEW_ROWS(2, 8)
FEW_ROWS(1, 16)
FEW_ROWS(2, 16)
