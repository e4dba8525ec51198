// The gated delta rule: T = (I + B)^-1 and P of every chunk, and the numbers gamma and r (gated_delta.cuh has the formulas), on tensor cores.
//
// A block of four warps computes k k^T and q k^T of a chunk for one key head, 16 rows per warp in registers, and from them B and P of each of its
// value heads. gated_delta_solve.cuh solves I + B.
//
// Shared memory: queries and keys, then B and T in float32 in their place. What it must do, 8192 tokens, 16 key heads of 128, 32 value heads:
// 8.6 GFLOP, 67 MB read, 67 MB written: 0.032 ms on an H200.
#include "gated_delta_solve.cuh"

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
