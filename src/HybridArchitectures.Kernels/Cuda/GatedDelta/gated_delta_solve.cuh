// The unit triangular systems of the gated delta rule: T = (I + B)^-1 for 64 x 64 matrices in shared memory, by four warps.
//
// I + B is solved in float32: each warp inverts a block of 16 x 16 on the diagonal by forward substitution, a lane for each column, and blocks off
// the diagonal follow from products of three bfloat16 parts, 32 x 32 at a time. A series of powers of B instead would lose all digits where keys are
// alike: its terms grow like binomials.
#pragma once
#include "gated_delta.cuh"

// splits two float32 into bfloat16 parts, packed in pairs
__device__ __forceinline__ void split_words(float x, float y, unsigned& high, unsigned& low) {
    high = round_to_bfloat16_pair(x, y);
    low = round_to_bfloat16_pair(x - first_of(high), y - second_of(high));
}

// adds left right of 16 x 16 blocks of float32, each split in two bfloat16
__device__ __forceinline__ void block_product(float (&sums)[2][4], const float* left, const float* right) {
    const int quad = threadIdx.x % 32 / 4, quad_lane = threadIdx.x % 4;
    unsigned left_high[4], left_low[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const Two pair = *reinterpret_cast<const Two*>(left + (quad + i % 2 * 8) * Pitch + 2 * quad_lane + i / 2 * 8);
        split_words(pair.x, pair.y, left_high[i], left_low[i]);
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
        unsigned right_high[2], right_low[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float* element = right + (2 * quad_lane + 8 * i) * Pitch + 8 * n + quad;
            split_words(element[0], element[Pitch], right_high[i], right_low[i]);
        }
        multiply_add(sums[n], left_low, right_high[0], right_high[1]);
        multiply_add(sums[n], left_high, right_low[0], right_low[1]);
        multiply_add(sums[n], left_high, right_high[0], right_high[1]);
    }
}

__device__ __forceinline__ void store_block(float* to, const float (&sums)[2][4], float sign) {
    const int quad = threadIdx.x % 32 / 4, quad_lane = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *reinterpret_cast<Two*>(to + (quad + 8 * half) * Pitch + 8 * n + 2 * quad_lane) =
                {sign * sums[n][2 * half], sign * sums[n][2 * half + 1]};
}

// inverts I + the strictly lower part of a 16 x 16 block, a column per lane; lanes of the upper half do the same
__device__ __forceinline__ void invert_block(const float* b, float* t) {
    const int column = threadIdx.x % 16;
    float x[16];
#pragma unroll
    for (int i = 0; i < 16; i++) x[i] = i == column ? 1.f : 0.f;
#pragma unroll
    for (int m = 0; m < 15; m++)
#pragma unroll
        for (int i = m + 1; i < 16; i++) x[i] -= b[i * Pitch + m] * x[m];
    if (threadIdx.x % 32 < 16)
#pragma unroll
        for (int i = 0; i < 16; i++) t[i * Pitch + column] = x[i];
}

// computes T from B, both 64 x 64; the upper blocks of T hold intermediate results afterwards
__device__ __forceinline__ void solve(float* b, float* t) {
    const int warp = threadIdx.x / 32;
    auto block = [](float* of, int row, int column) { return of + 16 * row * Pitch + 16 * column; };
    invert_block(block(b, warp, warp), block(t, warp, warp));
    __syncthreads();
    // within 32 x 32: T[w, w - 1] = -T[w, w] B[w, w - 1] T[w - 1, w - 1]
    if (warp % 2) {
        float sums[2][4] = {};
        block_product(sums, block(b, warp, warp - 1), block(t, warp - 1, warp - 1));
        store_block(block(t, warp - 1, warp), sums, 1);
        sync_warp();
        float product[2][4] = {};
        block_product(product, block(t, warp, warp), block(t, warp - 1, warp));
        store_block(block(t, warp, warp - 1), product, -1);
    }
    __syncthreads();
    // the lower left 32 x 32, a block per warp
    const int row = warp / 2, column = warp % 2;
    float sums[2][4] = {};
    for (int m = column; m < 2; m++) block_product(sums, block(b, 2 + row, m), block(t, m, column));
    store_block(block(t, row, 2 + column), sums, 1);
    __syncthreads();
    float product[2][4] = {};
    for (int m = 0; m <= row; m++) block_product(product, block(t, 2 + row, 2 + m), block(t, m, 2 + column));
    store_block(block(t, 2 + row, column), product, -1);
    __syncthreads();
}

__device__ __forceinline__ void store_solved(const float* t, u16* solved) {
    for (int i = threadIdx.x; i < Chunk * Chunk / 8; i += 128) {
        const int row = i / 8, column = i % 8 * 8;
        float values[8];
#pragma unroll
        for (int e = 0; e < 8; e++) values[e] = column + e <= row ? t[row * Pitch + column + e] : 0.f;
        store<bfloat16, 8>(solved, row * Chunk + column, values);
    }
}
