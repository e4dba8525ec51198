// What the kernels of the gradients within chunks share: the tiles of a chunk of one key head, and products of them. A block has a group of four
// warps for each 64 elements of a key.
#pragma once
#include "gated_delta.cuh"

constexpr int Groups = KeyTiles, Threads = 128 * Groups;
constexpr int HeadTiles = 3 * ValueTiles + 2 * ValueTiles * KeyTiles, PairTileCount = 2 * KeyTiles + HeadTiles + 2;

struct PairTiles {
    const DeltaArguments& args;
    u16* tiles;
    // those from `gradients` to `state_gradients`, HeadTiles, belong to one head
    Place queries, keys, gradients, errors, values, states, state_gradients;
    u16 *matrix_n, *matrix_m;                        // N and M
    i64 chunk, group, row, begin, end;
    int warp, lane, warp_group;                      // the warp in its group of four; the group

    __device__ __forceinline__ PairTiles(const DeltaArguments& arguments, u16* shared) : args(arguments), tiles(first_tile(shared)) {
        queries = place_of(tiles);
        keys = queries + KeyTiles * Tile;
        gradients = keys + KeyTiles * Tile;
        errors = gradients + ValueTiles * Tile;
        values = errors + ValueTiles * Tile;
        states = values + ValueTiles * Tile;
        state_gradients = states + ValueTiles * KeyTiles * Tile;
        matrix_n = tiles + (2 * KeyTiles + HeadTiles) * Tile;
        matrix_m = matrix_n + Tile;
        chunk = blockIdx.x;
        group = blockIdx.y;
        row = blockIdx.z;
        begin = chunk * Chunk;
        end = row_length(args, row);
        warp = threadIdx.x % 128 / 32;
        lane = threadIdx.x % 32;
        warp_group = uniform(threadIdx.x / 128);
    }

    // the shared memory after the tiles
    __device__ __forceinline__ float* floats() const { return reinterpret_cast<float*>(tiles + PairTileCount * Tile); }

    __device__ __forceinline__ void load_keys() const {
        for (int kt = 0; kt < KeyTiles; kt++) {
            const int width = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64;
            load_tile<Threads>(keys + kt * Tile, args.key.at(row, begin, group) + 64 * kt, args.key.tokenStride, end - begin, width, threadIdx.x);
            load_tile<Threads>(
                queries + kt * Tile, args.query.at(row, begin, group) + 64 * kt, args.query.tokenStride, end - begin, width, threadIdx.x);
        }
    }

    __device__ __forceinline__ void load_columns(Place to, const HeadRows& from, i64 head) const {
        for (int vt = 0; vt < ValueTiles; vt++) {
            const int width = ValueSize - 64 * vt < 64 ? ValueSize - 64 * vt : 64;
            load_tile<Threads>(to + vt * Tile, from.at(row, begin, head) + 64 * vt, from.tokenStride, end - begin, width, threadIdx.x);
        }
    }

    // loads dY, E and dV of a head
    __device__ __forceinline__ void load_head(i64 head) const {
        load_columns(gradients, args.gradient, head);
        load_columns(errors, args.error, head);
        if constexpr (Corrects) load_columns(values, args.dValue, head);
        copy_commit();
    }

    __device__ __forceinline__ void load_states(i64 head) const {
        const i64 place = ((row * args.heads + head) * args.chunks + chunk) * KeySize * ValueSize;
        for (int vt = 0; vt < ValueTiles; vt++)
            for (int kt = 0; kt < KeyTiles; kt++) {
                const int width = KeySize - 64 * kt < 64 ? KeySize - 64 * kt : 64, tile = (vt * KeyTiles + kt) * Tile;
                const i64 at = place + 64 * vt * KeySize + 64 * kt;
                load_tile<Threads>(states + tile, args.states + at, KeySize, ValueSize - 64 * vt, width, threadIdx.x);
                load_tile<Threads>(state_gradients + tile, args.stateGradients + at, KeySize, ValueSize - 64 * vt, width, threadIdx.x);
            }
        copy_commit();
    }
};

// sums += left right^T, 16 rows per warp, over all columns of `Tiles` tiles of each
template <int Tiles> __device__ __forceinline__ void product(float (&sums)[32], Place left, Place right, int warp) {
#pragma unroll
    for (int t = 0; t < Tiles; t++) {
        unsigned words[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++) load_left(words[k], left + t * Tile, 16 * warp, 16 * k);
        open();
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<false>(sums, words[k], right + t * Tile, 16 * k);
        close();
        wait_products<0>();
    }
    settled(sums);
}

// sums += left right, over `Tiles` tiles of left's columns, `apart` elements from one tile of right to the next; of left^T with Transposed
template <bool Transposed, int Tiles>
__device__ __forceinline__ void product_rowwise(float (&sums)[32], Place left, Place right, int apart, int warp) {
#pragma unroll
    for (int t = 0; t < Tiles; t++) {
        unsigned words[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            if constexpr (Transposed) load_left_transposed(words[k], left + t * Tile, 16 * warp, 16 * k);
            else load_left(words[k], left + t * Tile, 16 * warp, 16 * k);
        open();
#pragma unroll
        for (int k = 0; k < 4; k++) accumulate<true>(sums, words[k], right + t * apart, 16 * k);
        close();
        wait_products<0>();
    }
    settled(sums);
}

__device__ __forceinline__ void store_gradient(const HeadRows& to, const float (&sums)[32], const PairTiles& block) {
    const int quad = block.lane / 4, quad_lane = block.lane % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = 16 * block.warp + quad + 8 * half;
        const bool exists = block.begin + i < block.args.length;
        u16* at = to.at(block.row, exists ? block.begin + i : 0, block.group) + 64 * block.warp_group;
#pragma unroll
        for (int n = 0; n < 8; n += 2)
            store_row(at + 8 * n, round_to_bfloat16_pair(sums[4 * n + 2 * half], sums[4 * n + 2 * half + 1]),
                round_to_bfloat16_pair(sums[4 * n + 4 + 2 * half], sums[4 * n + 5 + 2 * half]),
                exists && 64 * block.warp_group + 8 * n + (quad_lane & 1 ? 8 : 0) < KeySize);
    }
}
