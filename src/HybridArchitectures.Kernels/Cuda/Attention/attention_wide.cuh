// How the gradients of attention are divided among the eight warps of a block for heads of over 128 elements, whose sums one warp cannot hold.
//
// Scores: a block has Rows x Tile of them at a time, twice: four warps (group 0) multiply queries and keys, the other four (group 1) multiply values
// and dO. A warp has 16 RowTiles rows and WarpColumns columns. Probabilities, and after them the gradients of the scores (dS), pass through shared
// memory ("pairs"), from where all warps read them as left operands.
// Sums: four warps divide the columns of a head, so that a warp has 64 rows and up to 64 columns (up to 128 sums a thread) and an operand that is
// loaded serves four products. One warp with 16 rows and all columns would load twice as much.
#pragma once

// The host chooses these as for attention_warps.cuh.
#ifndef ATT_WARPS
#define ATT_D 256
#define ATT_E 256
#define ATT_SINKS 0
#define ATT_CAP 0
#define ATT_WARPS 8
#define ATT_ROW_TILES 2
#define ATT_ROWS 64
#define ATT_TILE 64
#endif

#include "attention_gradients.cuh"
#include "attention_warps.cuh"

constexpr int GroupWarps = 4, GroupThreads = 32 * GroupWarps, RowGroups = Rows / WarpRows, ColumnGroups = GroupWarps / RowGroups,
    WarpColumns = Tile / ColumnGroups, WarpSteps = WarpColumns / 16, PairPitch = Tile + 8, PairSize = Rows * PairPitch;

static_assert(Warps == 2 * GroupWarps && RowGroups * ColumnGroups == GroupWarps && WarpColumns % 16 == 0, "how scores are divided");

// A quarter of the columns of a head of Size elements, in steps of 16. The last warps have fewer columns if 64 does not divide Size.
template <int Size> constexpr int Quarter = (Size / 16 + 3) / 4 * 16;
constexpr int MaxQuarter = Quarter<(D > E ? D : E)>;

// Which part of the scores and of the sums a warp has.
struct WarpPart {
    int group, row, column, quarter, lane;

    __device__ __forceinline__ WarpPart() {
        const int warp = uniform(threadIdx.x / 32);
        group = warp / GroupWarps;
        quarter = warp % GroupWarps;
        row = quarter / ColumnGroups * WarpRows;
        column = quarter % ColumnGroups * WarpColumns;
        lane = threadIdx.x % 32;
    }

    // The place of the scores of a lane in a tile of pairs.
    __device__ __forceinline__ unsigned* lane_pairs(u16* pairs) const {
        return reinterpret_cast<unsigned*>(pairs + (row + lane / 4) * PairPitch + column + 2 * (lane % 4));
    }

    __device__ __forceinline__ void write_pairs(u16* pairs, const unsigned (&words)[WarpSteps][4], int t) const {
#pragma unroll
        for (int k = 0; k < WarpSteps; k++)
#pragma unroll
            for (int i = 0; i < 4; i++) lane_pairs(pairs)[pair_at(t, k, i)] = words[k][i];
    }

    __device__ __forceinline__ void read_pairs(unsigned (&words)[WarpSteps][4], u16* pairs, int t) const {
#pragma unroll
        for (int k = 0; k < WarpSteps; k++)
#pragma unroll
            for (int i = 0; i < 4; i++) words[k][i] = lane_pairs(pairs)[pair_at(t, k, i)];
    }

    // Word i of step k of row tile t: the upper or lower 8 rows (i % 2) and the left or right 8 columns (i / 2).
    static __device__ __forceinline__ int pair_at(int t, int k, int i) { return ((16 * t + i % 2 * 8) * PairPitch + 16 * k + i / 2 * 8) / 2; }
};

// Computes the scores of a warp, or their gradients: the products of its rows of `front` with its columns, which are rows of `tile`.
template <int Steps, int Pitch> __device__ __forceinline__ void multiply_part(float (&sums)[RowTiles][WarpColumns / 2], const WarpPart& part,
    Place front, Place tile) {
    multiply_rows<Steps, Pitch>(sums, SharedRows<Pitch>(front + part.row * Pitch), tile + part.column * Pitch);
}

// Computes sums += pairs right for 16 Tiles rows of pairs from `firstRow` on, and a quarter of the Size columns of a tile of Tile rows.
template <int Size, int Tiles> __device__ __forceinline__ void add_quarter(float (&sums)[Tiles][MaxQuarter / 2], Place pairs, int firstRow,
    Place right, int quarter) {
    constexpr int Pitch = Size + 8;
    const int lane = threadIdx.x % 32, firstColumn = quarter * Quarter<Size>;
    const SharedRows<PairPitch> left(pairs + firstRow * PairPitch);
    const Place from = right + (lane % 16 * Pitch + lane / 16 * 8 + firstColumn);
#pragma unroll
    for (int k = 0; k < TileSteps; k++) {
        unsigned operands[Tiles][4];
#pragma unroll
        for (int t = 0; t < Tiles; t++) left(operands[t], t, k);
#pragma unroll
        for (int n = 0; n < Quarter<Size> / 8; n += 2)
            if (Size % 64 == 0 || firstColumn + 8 * n < Size) {
                unsigned words[4];
                load_blocks<true>(words, from + (16 * k * Pitch + 8 * n));
#pragma unroll
                for (int t = 0; t < Tiles; t++) {
                    multiply_add(sums[t], 4 * n, operands[t], words[0], words[1]);
                    multiply_add(sums[t], 4 * n + 4, operands[t], words[2], words[3]);
                }
            }
    }
}

// Writes the sums of a warp, from token `first` on. The columns after its quarter are those of the next warp.
template <int Size, int Tiles> __device__ __forceinline__ void write_quarter(const float (&sums)[Tiles][MaxQuarter / 2], float factor, Heads to,
    i64 row, int head, int first, i64 tokens, i64 size, int quarter) {
    const int firstColumn = quarter * Quarter<Size>, columns = lesser(static_cast<int>(size) - firstColumn, Quarter<Size>);
    to.base += 2 * firstColumn;
#pragma unroll
    for (int t = 0; t < Tiles; t++) write_rows<Quarter<Size>>(sums[t], factor, factor, to, row, head, first + 16 * t, tokens, columns);
}
