// The gated delta rule: T = (I + B)^-1 and P of every chunk, and the numbers gamma and r (gated_delta.cuh has the formulas), on tensor cores.
//
// A block of four warps computes k k^T and q k^T of a chunk for one key head, 16 rows a warp in registers, and from them B and P of each of its value
// heads. I + B is solved in float32: each warp inverts a block of 16 x 16 on the diagonal by forward substitution, a lane for each column, and blocks
// off the diagonal follow from products of three bfloat16 parts, 32 x 32 at a time. A series of powers of B instead would lose all digits where
// keys are alike: its terms grow like binomials.
//
// Shared memory: queries and keys, then B and T in float32 in their place. What it must do, 8192 tokens, 16 key heads of 128, 32 value heads:
// 8.6 GFLOP, 67 MB read, 67 MB written: 0.032 ms on an H200.
#include "gated_delta.cuh"

// sums += a b of 16 x 16 blocks of float32, each split in two bfloat16
__device__ __forceinline__ void split_words(float x, float y, unsigned& high, unsigned& low) {
    high = round_to_bfloat16_pair(x, y);
    low = round_to_bfloat16_pair(x - first_of(high), y - second_of(high));
}

__device__ __forceinline__ void block_product(float (&sums)[2][4], const float* a, const float* b) {
    const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
    unsigned ah[4], al[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const Two two = *reinterpret_cast<const Two*>(a + (r + i % 2 * 8) * Pitch + 2 * q + i / 2 * 8);
        split_words(two.x, two.y, ah[i], al[i]);
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
        unsigned bh[2], bl[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float* at = b + (2 * q + 8 * i) * Pitch + 8 * n + r;
            split_words(at[0], at[Pitch], bh[i], bl[i]);
        }
        multiply_add(sums[n], al, bh[0], bh[1]);
        multiply_add(sums[n], ah, bl[0], bl[1]);
        multiply_add(sums[n], ah, bh[0], bh[1]);
    }
}

__device__ __forceinline__ void store_block(float* to, const float (&sums)[2][4], float sign) {
    const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *reinterpret_cast<Two*>(to + (r + 8 * half) * Pitch + 8 * n + 2 * q) = {sign * sums[n][2 * half], sign * sums[n][2 * half + 1]};
}

// the inverse of I + the strictly lower part of a 16 x 16 block, a column a lane; lanes of the upper half do the same
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

// T of B, both 64 x 64; the upper blocks of T hold intermediate results afterwards
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
    // the lower left 32 x 32, a block a warp
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

// writes B to shared memory and P to global memory: 16 rows of a warp
__device__ __forceinline__ void weigh(const ChunkNumbers& n, const float (&kk)[32], const float (&qk)[32], float* b, u16* scores) {
    const int warp = threadIdx.x / 32, r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = 16 * warp + r + 8 * half;
        unsigned before = 0;
#pragma unroll
        for (int m = 0; m < 8; m++) {
            float lower[2], score[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int j = 8 * m + 2 * q + e;
                const float weight = j <= i ? n.between(i, j) * n.beta[j] : 0.f;
                lower[e] = j < i ? kk[4 * m + 2 * half + e] * weight : 0.f;
                score[e] = j <= i ? qk[4 * m + 2 * half + e] * weight : 0.f;
            }
            *reinterpret_cast<Two*>(b + i * Pitch + 8 * m + 2 * q) = {lower[0], lower[1]};
            const unsigned word = round_to_bfloat16_pair(score[0], score[1]);
            if (m % 2) store_row(scores + i * Chunk + 8 * (m - 1), before, word, true);
            else before = word;
        }
    }
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

__device__ __forceinline__ void prepare(const DeltaArguments& a) {
    DYNAMIC_SHARED(u16, shared);
    u16* tiles = first_tile(shared);
    const Place keys = place_of(tiles), queries = keys + KeyTiles * Tile;
    // B and T take the place of queries and keys
    constexpr int Both = 2 * Chunk * Pitch * 2 > 2 * KeyTiles * Tile ? 2 * Chunk * Pitch * 2 : 2 * KeyTiles * Tile;
    float* b = reinterpret_cast<float*>(tiles);
    float* t = b + Chunk * Pitch;
    const ChunkNumbers n(reinterpret_cast<float*>(tiles + Both));
    const i64 chunk = blockIdx.x, group = blockIdx.y, row = blockIdx.z, begin = chunk * Chunk, end = row_length(a, row);
    const int warp = threadIdx.x / 32;
    for (int kt = 0; kt < KeyTiles; kt++) {
        const int columns = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64;
        load_tile<128>(keys + kt * Tile, a.key.at(row, begin, group) + 64 * kt, a.key.token, end - begin, columns, threadIdx.x);
        load_tile<128>(queries + kt * Tile, a.query.at(row, begin, group) + 64 * kt, a.query.token, end - begin, columns, threadIdx.x);
    }
    copy_commit();
    copy_wait<0>();
    publish();
    __syncthreads();
    float kk[32], qk[32];
    clear(kk);
    clear(qk);
#pragma unroll
    for (int kt = 0; kt < KeyTiles; kt++) {
        unsigned left[8][4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            load_left(left[k], keys + kt * Tile, 16 * warp, 16 * k);
            load_left(left[4 + k], queries + kt * Tile, 16 * warp, 16 * k);
        }
        open();
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<false>(kk, left[k], keys + kt * Tile, 16 * k);
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<false>(qk, left[4 + k], keys + kt * Tile, 16 * k);
        close();
        wait_products<0>();
        settled(kk);
        settled(qk);
    }
    const i64 share = a.heads / a.groups;
    for (i64 head = group * share; head < (group + 1) * share; head++) {
        const i64 place = (row * a.heads + head) * a.chunks + chunk;
        chunk_numbers(n, a, row, head, begin, end);
        __syncthreads();
        for (int i = threadIdx.x; i < ChunkNumbers::Size; i += 128) a.numbers[place * ChunkNumbers::Size + i] = n.high[i];
        weigh(n, kk, qk, b, a.scores + place * Chunk * Chunk);
        __syncthreads();
        solve(b, t);
        store_solved(t, a.solved + place * Chunk * Chunk);
    }
}

KERNEL_OF(delta_prepare, 128, 4, DeltaArguments, prepare)
