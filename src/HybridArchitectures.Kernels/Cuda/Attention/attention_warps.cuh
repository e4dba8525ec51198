// What the attention kernels for compute capability 8.0 and later share, whose products are those of single warps (mma.sync).
//
// The tensor maps of AttentionArguments are not those of the driver here: they contain the address, the sizes and the strides of a tensor as numbers.
// Tiles in shared memory are rows of D or E elements and 16 bytes more, so that the eight rows of a block of an operand lie in different banks. A
// block has Rows rows (queries, or keys for their gradients), of which a warp has the scores of 16 RowTiles, and all rows of the other tensors, Tile
// at a time. Unless several warps share their rows (attention_wide.cuh), Rows is 16 Warps RowTiles.
// Sums of a warp are distributed over lanes as in tensor_cores.cuh: sums[t][4 n + e] is number e of row tile t and the 8 columns from 8 n on.
#pragma once
#include "attention_softmax.cuh"

// The host chooses these with the head sizes and the shared memory of the GPU.
#ifndef ATT_WARPS
#define ATT_WARPS 4             // warps of a block
#define ATT_ROW_TILES 2         // tiles of 16 rows of a warp
#define ATT_TILE 64             // rows of the other tensors at a time
#endif
#ifndef ATT_ROWS
#define ATT_ROWS (16 * ATT_WARPS * ATT_ROW_TILES)
#endif
#ifndef ATT_STAGES
#define ATT_STAGES 2            // tiles of the other tensors in shared memory, for gradients
#endif

constexpr int Warps = ATT_WARPS, Threads = 32 * Warps, RowTiles = ATT_ROW_TILES, WarpRows = 16 * RowTiles, Rows = ATT_ROWS, Tile = ATT_TILE,
    TileSteps = Tile / 16, Stages = ATT_STAGES;
constexpr int DPitch = D + 8, EPitch = E + 8;  // elements between rows in shared memory, an odd number of 16-byte pieces

static_assert(Rows % 64 == 0 && Tile % 16 == 0, "sizes that ranges and products take");
static_assert(Stages == 1 || Stages == 2, "a ring of one or two");

// A tensor (rows, tokens, heads, elements) in global memory, with bytes between its parts.
struct Heads { char* base; i64 row, token, head; };

__device__ __forceinline__ Heads heads_of(const TensorMap& map) {
#ifdef HYBRID_EMULATION
    const HeadMap numbers = as_heads(map);
    return {numbers.base, static_cast<i64>(numbers.strides[2]), static_cast<i64>(numbers.strides[1]), static_cast<i64>(numbers.strides[0])};
#else
    return {reinterpret_cast<char*>(map.words[0]), static_cast<i64>(map.words[7]), static_cast<i64>(map.words[6]), static_cast<i64>(map.words[5])};
#endif
}

// Starts to copy Count tokens of a head from token `first` on, by all threads, with zeros outside of the tensor.
template <int Width, int Count> __device__ __forceinline__ void load_tokens(Place to, const Heads& from, i64 row, int head, int first, i64 tokens,
    i64 size) {
    constexpr int Pieces = Width / 8;
    const char* base = from.base + row * from.row + head * from.head + first * from.token;
    const int present = static_cast<int>(tokens) - first, pieces = static_cast<int>(size) / 8;
    if constexpr (Threads % Pieces == 0 || Pieces > 16) {
        // A thread copies the same piece of every Step-th token. If a warp copies whole tokens, lanes after the last piece have none.
        constexpr int Lanes = Threads % Pieces == 0 ? Pieces : 32, Step = Threads / Lanes;
        const int firstToken = threadIdx.x / Lanes, piece = threadIdx.x % Lanes, end = piece < pieces ? present - firstToken : 0;
        const char* at = base + firstToken * from.token + piece * 16;
        const Place place = to + (firstToken * (Width + 8) + piece * 8);
#pragma unroll
        for (int i = 0; i < (Count + Step - 1) / Step; i++, at += Step * from.token) {
            const bool there = i * Step < end;
            if ((Count % Step == 0 || firstToken + i * Step < Count) && (Lanes == Pieces || piece < Pieces))
                copy_async_16(place + i * Step * (Width + 8), there ? at : from.base, there);
        }
    } else {
        constexpr int Items = Count * Pieces;
#pragma unroll
        for (int i = 0; i < (Items + Threads - 1) / Threads; i++) {
            const int item = i * Threads + threadIdx.x, token = item / Pieces, piece = item % Pieces;
            const bool there = token < present && piece < pieces;
            if (Items % Threads == 0 || item < Items)
                copy_async_16(to + (token * (Width + 8) + piece * 8), there ? base + token * from.token + piece * 16 : from.base, there);
        }
    }
}

// Waits for the copies of all threads, and for all warps to have finished with the tile before.
__device__ __forceinline__ void meet_copies() {
    copy_wait<0>();
    __syncthreads();
}

// Left operands in shared memory: the rows of a warp from `tile` on, and 16 columns of each step.
template <int Pitch> struct SharedRows {
    Place from;

    __device__ __forceinline__ explicit SharedRows(Place tile) : from(tile + (threadIdx.x % 16 * Pitch + threadIdx.x % 32 / 16 * 8)) {}
    __device__ __forceinline__ void operator()(unsigned (&words)[4], int t, int k) const {
        load_blocks<false>(words, from + (16 * t * Pitch + 16 * k));
    }
};

// Left operands in registers.
template <int Steps> struct HeldRows {
    unsigned words[RowTiles][Steps][4];

    template <class Left> __device__ __forceinline__ void load(const Left& left) {
#pragma unroll
        for (int t = 0; t < RowTiles; t++)
#pragma unroll
            for (int k = 0; k < Steps; k++) left(words[t][k], t, k);
    }

    __device__ __forceinline__ void operator()(unsigned (&to)[4], int t, int k) const {
#pragma unroll
        for (int i = 0; i < 4; i++) to[i] = words[t][k][i];
    }
};

template <int Tiles, int Count> __device__ __forceinline__ void clear(float (&sums)[Tiles][Count]) {
#pragma unroll
    for (int t = 0; t < Tiles; t++)
#pragma unroll
        for (int i = 0; i < Count; i++) sums[t][i] = 0;
}

// Computes sums = left right^T: the products of the rows of the warp with 2 Count rows of another tile, over 16 Steps columns.
template <int Steps, int Pitch, int Count, class Left> __device__ __forceinline__ void multiply_rows(float (&sums)[RowTiles][Count], const Left& left,
    Place right) {
    clear(sums);
    const int lane = threadIdx.x % 32;
    const Place from = right + ((lane / 16 * 8 + lane % 8) * Pitch + lane / 8 % 2 * 8);
#pragma unroll
    for (int k = 0; k < Steps; k++) {
        unsigned operands[RowTiles][4];
#pragma unroll
        for (int t = 0; t < RowTiles; t++) left(operands[t], t, k);
#pragma unroll
        for (int n = 0; n < Count / 4; n += 2) {
            unsigned words[4];
            load_blocks<false>(words, from + (8 * n * Pitch + 16 * k));
#pragma unroll
            for (int t = 0; t < RowTiles; t++) {
                multiply_add(sums[t], 4 * n, operands[t], words[0], words[1]);
                multiply_add(sums[t], 4 * n + 4, operands[t], words[2], words[3]);
            }
        }
    }
}

// Computes sums += left right for the Columns columns of a tile of Tile rows. left has Tile columns.
template <int Columns, int Pitch> __device__ __forceinline__ void add_columns(float (&sums)[RowTiles][Columns / 2],
    const unsigned (&left)[RowTiles][TileSteps][4], Place right) {
    const int lane = threadIdx.x % 32;
    const Place from = right + (lane % 16 * Pitch + lane / 16 * 8);
#pragma unroll
    for (int k = 0; k < TileSteps; k++)
#pragma unroll
        for (int n = 0; n < Columns / 8; n += 2) {
            unsigned words[4];
            load_blocks<true>(words, from + (16 * k * Pitch + 8 * n));
#pragma unroll
            for (int t = 0; t < RowTiles; t++) {
                multiply_add(sums[t], 4 * n, left[t][k], words[0], words[1]);
                multiply_add(sums[t], 4 * n + 4, left[t][k], words[2], words[3]);
            }
        }
}

// Writes 16 rows of a warp, from token `first` on, rounded. factors are those of rows lane / 4 and lane / 4 + 8. The lanes of a quad have two columns
// of each piece of 16 bytes, and exchange them so that each writes whole pieces.
template <int Columns, int Count> __device__ __forceinline__ void write_rows(const float (&sums)[Count], float factor, float lowerFactor,
    const Heads& to, i64 row, int head, int first, i64 tokens, i64 size) {
    static_assert(Columns <= 2 * Count, "the sums of all columns");
    const int lane = threadIdx.x % 32, token = first + lane / 4;
    char* base = to.base + row * to.row + head * to.head;
#pragma unroll
    for (int n = 0; n < Columns / 8; n += 4) {
        const int column = 8 * (n + lane % 4);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float scale = half ? lowerFactor : factor;
            Word<16> word;
#pragma unroll
            for (int i = 0; i < 4; i++)
                word.words[i] = n + i < Columns / 8
                    ? round_to_bfloat16_pair(sums[4 * (n + i) + 2 * half] * scale, sums[4 * (n + i) + 2 * half + 1] * scale) : 0;
            transpose_quad(word.words);
            const int number = token + 8 * half;
            if (number < tokens && column < size) *reinterpret_cast<Word<16>*>(base + number * to.token + column * 2) = word;
        }
    }
}

// The keys that the rows of a warp see, if they are queries from `first` on.
__device__ __forceinline__ Range range_of_warp(const AttentionArguments& args, i64 row, int first) {
    return first < args.queries ? range_of(args, row, first, WarpRows) : no_range();
}
