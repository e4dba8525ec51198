// A block of keys and the queries that see them, as the kernels of single warps for the gradients of keys and values process them.
#pragma once
#include "attention_gradients.cuh"
#include "attention_warps.cuh"

constexpr int Queries = Tile, Keys = Rows;  // of a step and a block of the gradients of keys

#include "AttentionBackwardStart.cuh"

// A block has Rows keys of one key head. A step is a tile of queries of one of the query heads that share them, from the last tile one back.
// Shared memory: keys, values, then what the kernel puts between, then the stages.
struct KeyBlock {
    const AttentionArguments& args;
    u16 *front, *tiles;
    int row, keyHead, block, perHead;

    // A stage in shared memory: queries, dO, logarithms, delta, bounds.
    static constexpr int GradientsAt = Tile * DPitch, NumbersAt = GradientsAt + Tile * EPitch, DeltasAt = NumbersAt + 2 * Tile,
        BoundsAt = DeltasAt + 2 * Tile, StageSize = BoundsAt + 2 * BoundInts * Tile, FrontSize = Rows * (DPitch + EPitch);

    // The queries from `query` on of a head of those that share the keys; no more steps if it is below 0.
    struct Step { int head, query; Range range; };

    __device__ __forceinline__ explicit KeyBlock(const AttentionArguments& arguments, int between) : args(arguments) {
        DYNAMIC_SHARED(u16, shared);
        front = shared;
        tiles = shared + FrontSize + between;
        perHead = static_cast<int>(args.heads / args.keyHeads);
        const int keyHeads = static_cast<int>(args.keyHeads);
        const LineBlock at = line_block_of(args, static_cast<int>(blockIdx.x), static_cast<int>(args.batch) * keyHeads,
            static_cast<int>((args.keys + Rows - 1) / Rows));
        row = at.line / keyHeads;
        keyHead = at.line % keyHeads;
        block = at.block;
    }

    __device__ __forceinline__ Place keys() const { return place_of(front); }
    __device__ __forceinline__ Place values() const { return place_of(front + Rows * DPitch); }
    __device__ __forceinline__ u16* stage_at(int stage) const { return tiles + stage * StageSize; }

    // The first step whose tile of queries is number `tile` or before.
    __device__ __forceinline__ Step step_from(int tile, int firstTile) const {
        for (; tile >= firstTile; tile--) {
            const Range range = range_of(args, row, tile * Tile, Tile);
            if (BlockList(range, Rows).contains(block)) return {0, tile * Tile, range};
        }
        return {-1, 0, no_range()};
    }

    __device__ __forceinline__ Step step_after(const Step& step, int firstTile) const {
        return step.head + 1 < perHead ? Step{step.head + 1, step.query, step.range} : step_from(step.query / Tile - 1, firstTile);
    }

    __device__ __forceinline__ void load_front() const {
        load_tokens<D, Rows>(keys(), heads_of(args.key), row, keyHead, block * Rows, args.keys, args.querySize);
        load_tokens<E, Rows>(values(), heads_of(args.value), row, keyHead, block * Rows, args.keys, args.valueSize);
    }

    __device__ __forceinline__ void load_step(const Step& step, int stage) const {
        if (step.head >= 0) {
            u16* to = stage_at(stage);
            const int head = keyHead * perHead + step.head, item = threadIdx.x;
            load_tokens<D, Tile>(place_of(to), heads_of(args.query), row, head, step.query, args.queries, args.querySize);
            load_tokens<E, Tile>(place_of(to + GradientsAt), heads_of(args.gradient), row, head, step.query, args.queries, args.valueSize);
            const i64 at = (row * args.heads + head) * rounded_up(args.queries, 128) + step.query;
            if (item < Tile / 4) copy_async_16(place_of(to + NumbersAt + 8 * item), args.logarithms + at + 4 * item, true);
            else if (item < Tile / 2) copy_async_16(place_of(to + DeltasAt + 8 * (item - Tile / 4)), args.delta + at + 4 * (item - Tile / 4), true);
            if (!sees_all(step.range, block * Rows, Rows) && item < Tile)
                write_bounds(reinterpret_cast<int*>(to + BoundsAt), Tile, item, args, row, step.query + item);
        }
        copy_commit();
    }
};
