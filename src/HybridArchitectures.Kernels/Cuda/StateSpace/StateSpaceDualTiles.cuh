// Tiles of the state-space dual in shared memory, and their blocks as operands of tensor cores. Float32 is split into three bfloat16 planes.
#pragma once
#include "StateSpaceDualArguments.cuh"

// A tile in shared memory: planes of rows of Columns + 8 bfloat16, so that eight neighbouring rows use different banks.
template <int TileRows, int Columns> struct Tile {
    static constexpr int Stride = Columns + 8, Plane = TileRows * Stride, Size = Planes * Plane;
};

struct Left { unsigned words[Planes][4]; };             // a 16 x 16 block
struct Right { unsigned words[Planes][4]; };            // 16 x 16: two neighbouring 16 x 8 blocks

// Loads the block of rows from `row` and columns from `column` on. With Transposed, the tile contains the transposed matrix.
template <class T, bool Transposed> __device__ __forceinline__ Left left(Place tile, int row, int column) {
    const int lane = threadIdx.x % 32;
    const int at = Transposed ? (column + lane % 8 + lane / 16 * 8) * T::Stride + row + lane / 8 % 2 * 8
        : (row + lane % 16) * T::Stride + column + lane / 16 * 8;
    Left result;
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) load_blocks<Transposed>(result.words[plane], tile + plane * T::Plane + at);
    return result;
}

// Loads the block of sums over k and of columns from `column` on. With Rowwise, the tile stores it by rows, otherwise by columns.
template <class T, bool Rowwise> __device__ __forceinline__ Right right(Place tile, int k, int column) {
    const int lane = threadIdx.x % 32;
    const int at = Rowwise ? (k + lane % 16) * T::Stride + column + lane / 16 * 8
        : (column + lane % 8 + lane / 16 * 8) * T::Stride + k + lane / 8 % 2 * 8;
    Right result;
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) load_blocks<Rowwise>(result.words[plane], tile + plane * T::Plane + at);
    return result;
}

// Computes sums += a b for both halves of b, small products first. Tensor cores truncate where other units round, by up to one last place of the sum
// to which they add. Products of float32 are therefore summed separately.
__device__ __forceinline__ void add_product(float (&lowSum)[4], float (&highSum)[4], const Left& a, const Right& b) {
    float partial[2][4] = {};
    float (&low)[4] = Planes > 1 ? partial[0] : lowSum, (&high)[4] = Planes > 1 ? partial[1] : highSum;
#pragma unroll
    for (int order = 2 * Planes - 2; order >= 0; order--)
#pragma unroll
        for (int i = 0; i < Planes; i++) {
            const int j = order - i;
            if (order >= Planes || j < 0 || j >= Planes) continue;
            multiply_add(low, a.words[i], b.words[j][0], b.words[j][1]);
            multiply_add(high, a.words[i], b.words[j][2], b.words[j][3]);
        }
    if constexpr (Planes > 1)
#pragma unroll
        for (int e = 0; e < 4; e++) { lowSum[e] += low[e]; highSum[e] += high[e]; }
}

// Splits two float32 numbers into words of the planes.
__device__ __forceinline__ void split(float first, float second, unsigned (&words)[Planes]) {
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) {
        words[plane] = round_to_bfloat16_pair(first, second);
        if (plane + 1 < Planes) { first -= first_of(words[plane]); second -= second_of(words[plane]); }
    }
}

// Converts sums of 16 x 16 to a left operand; the layouts are the same.
__device__ __forceinline__ Left as_left(const float (&low)[4], const float (&high)[4]) {
    Left result;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned words[Planes];
        split(i < 2 ? low[2 * i] : high[2 * i - 4], i < 2 ? low[2 * i + 1] : high[2 * i - 3], words);
#pragma unroll
        for (int plane = 0; plane < Planes; plane++) result.words[plane][i] = words[plane];
    }
    return result;
}

__device__ __forceinline__ Two value(const Left& block, int word) {
    Two result = {first_of(block.words[Planes - 1][word]), second_of(block.words[Planes - 1][word])};
#pragma unroll
    for (int plane = Planes - 2; plane >= 0; plane--) { result.x += first_of(block.words[plane][word]);
        result.y += second_of(block.words[plane][word]); }
    return result;
}

template <class T> __device__ __forceinline__ Two value(const u16* tile, int row, int column) {
    Two result;
#pragma unroll
    for (int plane = Planes - 1; plane >= 0; plane--) {
        const unsigned word = *reinterpret_cast<const unsigned*>(tile + plane * T::Plane + row * T::Stride + column);
        result.x = plane == Planes - 1 ? first_of(word) : result.x + first_of(word);
        result.y = plane == Planes - 1 ? second_of(word) : result.y + second_of(word);
    }
    return result;
}

template <class T> __device__ __forceinline__ void put(u16* tile, int row, int column, float first, float second) {
    unsigned words[Planes];
    split(first, second, words);
#pragma unroll
    for (int plane = 0; plane < Planes; plane++) *reinterpret_cast<unsigned*>(tile + plane * T::Plane + row * T::Stride + column) = words[plane];
}

__device__ __forceinline__ Two pair_of(const float* values, int at) { return *reinterpret_cast<const Two*>(values + at); }

// Fills TileRows x Columns with `rows` rows of `width` elements, `stride` apart from `from` on, and with zeros around them. With `wide`, both consist
// of pieces of 16 bytes.
template <class T, int TileRows, int Columns,
    int Count> __device__ __forceinline__ void stage(u16* tile, const Element* from, i64 stride, i64 rows, int width, bool wide) {
    const int validRows = rows < TileRows ? static_cast<int>(rows) : TileRows;
    constexpr int PerRow = Columns / Vector, All = TileRows * PerRow;
    if (wide) {
#if SSD_FLOAT32
#pragma unroll
        for (int pass = 0; pass < (All + Count - 1) / Count; pass++) {
            const int i = pass * Count + threadIdx.x, row = i / PerRow, column = i % PerRow * Vector;
            if (All % Count && i >= All) continue;
            float values[4] = {0, 0, 0, 0};
            if (row < validRows && column < width) load<float, 4>(from, row * stride + column, values);
            put<T>(tile, row, column, values[0], values[1]);
            put<T>(tile, row, column + 2, values[2], values[3]);
        }
#else
        const Place to = place_of(tile);
        if constexpr (Count % PerRow == 0 && All % Count == 0) {  // the column of a thread is constant, and its rows are equally spaced
            constexpr int Step = Count / PerRow;
            const int firstRow = threadIdx.x / PerRow, column = threadIdx.x % PerRow * Vector, end = column < width ? validRows : 0;
            const Element* at = from + firstRow * stride + column;
            const i64 step = Step * stride;
            const Place address = to + (firstRow * T::Stride + column);
#pragma unroll
            for (int pass = 0; pass < All / Count; pass++, at += step) copy_async_16(address + pass * Step * T::Stride, at, firstRow
                + pass * Step < end);
        } else {
#pragma unroll
            for (int pass = 0; pass < (All + Count - 1) / Count; pass++) {
                const int i = pass * Count + threadIdx.x, row = i / PerRow, column = i % PerRow * Vector;
                if (All % Count && i >= All) continue;
                copy_async_16(to + (row * T::Stride + column), from + row * stride + column, row < validRows && column < width);
            }
        }
#endif
    } else {
        for (int i = threadIdx.x; i < TileRows * Columns / 2; i += Count) {
            const int row = i / (Columns / 2), column = i % (Columns / 2) * 2;
            const Element* at = from + row * stride + column;
            put<T>(tile, row, column, row < validRows && column < width ? to_float(at[0]) : 0.f,
                row < validRows && column + 1 < width ? to_float(at[1]) : 0.f);
        }
    }
}

// Copies the numbers of a chunk, from (Arrays) to (Arrays, Q).
template <int Arrays, int Count, class From> __device__ __forceinline__ void stage_numbers(float* to, int thread, From from) {
    constexpr int Pieces = Q / 4;
    const Place address = place_of(reinterpret_cast<u16*>(to));
#pragma unroll
    for (int pass = 0; pass < (Arrays * Pieces + Count - 1) / Count; pass++) {
        const int i = pass * Count + thread;
        if (Arrays * Pieces % Count && i >= Arrays * Pieces) continue;
        copy_async_16(address + 8 * i, from(i / Pieces) + i % Pieces * 4, true);
    }
}
