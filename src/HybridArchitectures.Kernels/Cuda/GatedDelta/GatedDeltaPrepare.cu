// The gated delta rule: T = (I + B)^-1 and P of every chunk, and the numbers gamma and r (gated_delta.cuh has the formulas), on tensor cores.
//
// A block of four warps computes k k^T and q k^T of a chunk for one key head, 16 rows per warp in registers, and from them B and P of each of its
// value heads. I + B is solved in float32: each warp inverts a block of 16 x 16 on the diagonal by forward substitution, a lane for each column, and
// blocks off the diagonal follow from products of three bfloat16 parts, 32 x 32 at a time. A series of powers of B instead would lose all digits
// where keys are alike: its terms grow like binomials.
//
// Shared memory: queries and keys, then B and T in float32 in their place. What it must do, 8192 tokens, 16 key heads of 128, 32 value heads:
// 8.6 GFLOP, 67 MB read, 67 MB written: 0.032 ms on an H200.
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

// writes B to shared memory and P to global memory: 16 rows of a warp
__device__ __forceinline__ void weigh(
    const ChunkNumbers& numbers, const float (&key_products)[32], const float (&query_products)[32], float* b, u16* scores) {
    const int warp = threadIdx.x / 32, quad = threadIdx.x % 32 / 4, quad_lane = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = 16 * warp + quad + 8 * half;
        unsigned previous_word = 0;
#pragma unroll
        for (int m = 0; m < 8; m++) {
            float lower[2], score[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int j = 8 * m + 2 * quad_lane + e;
                const float weight = j <= i ? numbers.between(i, j) * numbers.beta[j] : 0.f;
                lower[e] = j < i ? key_products[4 * m + 2 * half + e] * weight : 0.f;
                score[e] = j <= i ? query_products[4 * m + 2 * half + e] * weight : 0.f;
            }
            *reinterpret_cast<Two*>(b + i * Pitch + 8 * m + 2 * quad_lane) = {lower[0], lower[1]};
            const unsigned word = round_to_bfloat16_pair(score[0], score[1]);
            if (m % 2) store_row(scores + i * Chunk + 8 * (m - 1), previous_word, word, true);
            else previous_word = word;
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

__device__ __forceinline__ void prepare(const DeltaArguments& args) {
    DYNAMIC_SHARED(u16, shared);
    u16* tiles = first_tile(shared);
    const Place keys = place_of(tiles), queries = keys + KeyTiles * Tile;
    // B and T take the place of queries and keys
    constexpr int SharedElements = 2 * Chunk * Pitch * 2 > 2 * KeyTiles * Tile ? 2 * Chunk * Pitch * 2 : 2 * KeyTiles * Tile;
    float* b = reinterpret_cast<float*>(tiles);
    float* t = b + Chunk * Pitch;
    const ChunkNumbers numbers(reinterpret_cast<float*>(tiles + SharedElements));
    const i64 chunk = blockIdx.x, group = blockIdx.y, row = blockIdx.z, begin = chunk * Chunk, end = row_length(args, row);
    const int warp = threadIdx.x / 32;
    for (int kt = 0; kt < KeyTiles; kt++) {
        const int columns = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64;
        load_tile<128>(keys + kt * Tile, args.key.at(row, begin, group) + 64 * kt, args.key.tokenStride, end - begin, columns, threadIdx.x);
        load_tile<128>(queries + kt * Tile, args.query.at(row, begin, group) + 64 * kt, args.query.tokenStride, end - begin, columns, threadIdx.x);
    }
    copy_commit();
    copy_wait<0>();
    publish();
    __syncthreads();
    float key_products[32], query_products[32];
    clear(key_products);
    clear(query_products);
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
        for (int k = 0; k < 4; k++) accumulate<false>(key_products, left[k], keys + kt * Tile, 16 * k);
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<false>(query_products, left[4 + k], keys + kt * Tile, 16 * k);
        close();
        wait_products<0>();
        settled(key_products);
        settled(query_products);
    }
    const i64 heads_per_group = args.heads / args.groups;
    for (i64 head = group * heads_per_group; head < (group + 1) * heads_per_group; head++) {
        const i64 place = (row * args.heads + head) * args.chunks + chunk;
        chunk_numbers(numbers, args, row, head, begin, end);
        __syncthreads();
        for (int i = threadIdx.x; i < ChunkNumbers::Size; i += 128) args.numbers[place * ChunkNumbers::Size + i] = numbers.high[i];
        weigh(numbers, key_products, query_products, b, args.scores + place * Chunk * Chunk);
        __syncthreads();
        solve(b, t);
        store_solved(t, args.solved + place * Chunk * Chunk);
    }
}

KERNEL_OF(delta_prepare, 128, 4, DeltaArguments, prepare)
