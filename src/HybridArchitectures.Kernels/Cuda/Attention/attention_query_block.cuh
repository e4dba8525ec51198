// A block of queries and the keys that they see, as the kernels of single warps for the gradient of queries process them.
#pragma once
#include "attention_gradients.cuh"
#include "attention_warps.cuh"

// A block has Rows queries of one head. A step is a tile of keys.
// Shared memory: queries, dO, bounds, then what the kernel puts between, then the stages.
struct QueryBlock {
    const AttentionArguments& args;
    u16* front;
    int* bounds;
    u16* tiles;
    int row, head, keyHead, firstQuery;

    // A stage in shared memory: keys, values.
    static constexpr int ValuesAt = Tile * DPitch, StageSize = ValuesAt + Tile * EPitch, FrontSize = Rows * (DPitch + EPitch) + 2 * BoundInts * Rows;

    __device__ __forceinline__ explicit QueryBlock(const AttentionArguments& arguments, int between) : args(arguments) {
        DYNAMIC_SHARED(u16, shared);
        front = shared;
        bounds = reinterpret_cast<int*>(shared + Rows * (DPitch + EPitch));
        tiles = shared + FrontSize + between;
        const int blocks = static_cast<int>((args.queries + Rows - 1) / Rows), heads = static_cast<int>(args.heads);
        const LineBlock at = line_block_of(args, static_cast<int>(blockIdx.x), static_cast<int>(args.batch) * heads, blocks);
        row = at.line / heads;
        head = at.line % heads;
        keyHead = head / static_cast<int>(args.heads / args.keyHeads);
        firstQuery = (blocks - 1 - at.block) * Rows;
    }

    __device__ __forceinline__ Place queries() const { return place_of(front); }
    __device__ __forceinline__ Place gradients() const { return place_of(front + Rows * DPitch); }
    __device__ __forceinline__ u16* stage_at(int stage) const { return tiles + stage * StageSize; }

    __device__ __forceinline__ void load_front() const {
        load_tokens<D, Rows>(queries(), heads_of(args.query), row, head, firstQuery, args.queries, args.querySize);
        load_tokens<E, Rows>(gradients(), heads_of(args.gradient), row, head, firstQuery, args.queries, args.valueSize);
        copy_commit();
    }

    __device__ __forceinline__ void load_block(int block, int stage) const {
        u16* to = stage_at(stage);
        load_tokens<D, Tile>(place_of(to), heads_of(args.key), row, keyHead, block * Tile, args.keys, args.querySize);
        load_tokens<E, Tile>(place_of(to + ValuesAt), heads_of(args.value), row, keyHead, block * Tile, args.keys, args.valueSize);
        copy_commit();
    }

    // The logarithms and delta of the queries of a lane whose warp has queries from warpQuery on.
    struct Numbers { float logarithms[RowTiles][2], deltas[RowTiles][2]; };

    __device__ __forceinline__ void load_numbers(Numbers& numbers, int warpQuery) const {
        const i64 room = rounded_up(args.queries, 128), at = (row * args.heads + head) * room + warpQuery + threadIdx.x % 32 / 4;
#pragma unroll
        for (int t = 0; t < RowTiles; t++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                numbers.logarithms[t][half] = args.logarithms[at + 16 * t + 8 * half];
                numbers.deltas[t][half] = args.delta[at + 16 * t + 8 * half];
            }
    }

    // dQ in memory.
    __device__ __forceinline__ Heads query_gradient() const {
        const i64 headBytes = 2 * args.querySize, tokenBytes = headBytes * args.heads;
        return {static_cast<char*>(args.dQuery), tokenBytes * args.queries, tokenBytes, headBytes};
    }
};
