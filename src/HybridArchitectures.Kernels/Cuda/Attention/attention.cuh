// What the attention kernels share: their arguments, which keys a query sees, and which blocks of keys a block of queries visits.
//
// Query i of a row sees key j if begin[i] <= j < end[i] and, with a window, if end[i] - j <= window or j < begin[i] + sinks. Without bounds, a row is
// one sequence whose last query is at its last key: begin is 0 and end is i + 1 + keys - queries.
#pragma once
#include "attention_products.cuh"

// The host compiles the kernels once for each shape that is used.
#ifndef ATT_D
#define ATT_D 64  // head size of queries and keys, rounded up to 16
#define ATT_E 64  // head size of values, rounded up to 16
#define ATT_SINKS 0             // whether there are sinks
#define ATT_CAP 0               // whether scores are capped
#endif

constexpr int D = ATT_D, E = ATT_E;
constexpr int DTiles = (D + 63) / 64, ETiles = (E + 63) / 64, DSteps = D / 16, ESteps = E / 16;
constexpr bool Sinks = ATT_SINKS, Capped = ATT_CAP;

static_assert(D % 16 == 0 && E % 16 == 0, "sizes that products take");

// The instructions of attention_products.cuh exist only on compute capability 9.0a.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define ATT_WHOLE 1
#else
#define ATT_WHOLE 0
#endif

// The keys that a block of queries sees: all keys that any query sees are in [low, high) or [sinkLow, sinkHigh); all queries see inner to innerEnd.
struct Range { int low, high, sinkLow, sinkHigh, inner, innerEnd; };

struct AttentionArguments {
    TensorMap query, key, value, output, gradient, dKey, dValue;                // (batch, tokens, heads, elements of a head), bfloat16
    const int* bounds;                              // (batch, queries rounded up to 64, 2): begin and end; or null
    Range* ranges;  // (batch, blocks of 64 queries), with bounds
    int* visitors;  // (batch, blocks of keys, 2), with bounds: see `visitors` of the backward kernels
    float *logarithms, *delta;  // (batch, heads, queries rounded up to 128): log2 of the sum of exponentials; output x gradient
    float* dQuerySums;                              // (batch, heads, blocks of queries, see `finish`)
    int *turns, *ticket;  // (batch, heads, blocks of queries): blocks of keys that have added; blocks that have started
    void* dQuery;                                   // (batch, queries, heads, querySize) bfloat16
    const void *plainOutput, *plainGradient;  // output and gradient again, for plain loads
    i64 gradientRow, gradientToken, gradientHead;  // elements between them
    i64 batch, queries, keys, heads, keyHeads, querySize, valueSize;
    i64 window, sinks;
    i64 together;  // the heads of rows whose blocks are processed together: see `line_block_of`
    const float* sinkLogits;                        // (heads), or null: scores without a key
    float scale, scaleLog2;  // of the scores, and with log2(e)
    float cap, capLog2;  // if scores s = scale q k are capped: scale / cap, and the cap with log2(e)
};
// The size without the padding that maps aligned to 64 bytes add.
static_assert(sizeof(AttentionArguments) == 7 * 128 + (alignof(TensorMap) == 64 ? 256 : 216), "as the host has it");

__device__ __forceinline__ int lesser(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int greater(int a, int b) { return a > b ? a : b; }

__device__ __forceinline__ float minus_infinity() { return as_float(0xff800000u); }

// Returns the greater of two numbers, neither of which is NaN.
__device__ __forceinline__ float greater_of(float a, float b) {
#ifdef HYBRID_EMULATION
    return a > b ? a : b;
#else
    float result; asm("max.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b)); return result;
#endif
}

// The relative error is near 2^-11, which is below the error of rounding queries and keys to bfloat16.
__device__ __forceinline__ float tanh_approximate(float x) {
#ifdef HYBRID_EMULATION
    return tanhf(x);
#else
    float result; asm("tanh.approx.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

__device__ __forceinline__ i64 rounded_up(i64 number, int to) { return (number + to - 1) / to * to; }

struct Bounds { int begin, end; };

// Block number `block` of line number `line`. A line is a head of a row.
struct LineBlock { int line, block; };

// The blocks of all lines in processing order: `together` lines at a time, so that the data which their blocks share stay in the second-level cache;
// of these first block 0 of each, then block 1.
__device__ __forceinline__ LineBlock line_block_of(const AttentionArguments& args, int number, int lines, int blocks) {
    const int together = static_cast<int>(args.together), before = number / (together * blocks) * together, within = number - before * blocks, count =
        lesser(together, lines - before);
    return {before + within % count, within / count};
}

__device__ __forceinline__ Bounds bounds_of(const AttentionArguments& args, i64 row, int query) {
    if (args.bounds) {
        const int* at = args.bounds + (row * rounded_up(args.queries, 64) + query) * 2;
        return {at[0], at[1]};
    }
    const int end = query + 1 + static_cast<int>(args.keys - args.queries), keys = static_cast<int>(args.keys);
    return {0, lesser(end, keys)};
}

// Returns the first key in the window.
__device__ __forceinline__ int low_of(const AttentionArguments& args, const Bounds& bounds) {
    const int low = bounds.end - static_cast<int>(args.window);
    return greater(low, bounds.begin);
}

__device__ __forceinline__ Range no_range() { return {0x7fffffff, 0, 0x7fffffff, 0, 0, 0x7fffffff}; }

__device__ __forceinline__ void add_to(Range& range, const Range& other) {
    range = {lesser(range.low, other.low), greater(range.high, other.high), lesser(range.sinkLow, other.sinkLow),
        greater(range.sinkHigh, other.sinkHigh),
        greater(range.inner, other.inner), lesser(range.innerEnd, other.innerEnd)};
}

__device__ __forceinline__ Range range_of(const AttentionArguments& args, const Bounds& bounds) {
    Range range = no_range();
    if (bounds.end <= bounds.begin) range.innerEnd = 0;
    else {
        range.low = range.inner = low_of(args, bounds);
        range.high = range.innerEnd = bounds.end;
        if (Sinks && range.low > bounds.begin) {
            range.sinkLow = bounds.begin;
            range.sinkHigh = lesser(bounds.begin + static_cast<int>(args.sinks), range.low);
        }
    }
    return range;
}

// Returns the range of a block of queries (a multiple of 64) of a row, from `first` on.
__device__ __forceinline__ Range range_of(const AttentionArguments& args, i64 row, int firstQuery, int count) {
    const int queries = static_cast<int>(args.queries), last = lesser(firstQuery + count, queries) - 1;
    Range range = no_range();
    if (args.bounds)
        for (int block = firstQuery / 64; block <= last / 64; block++) add_to(range, args.ranges[row * (rounded_up(args.queries, 64) / 64) + block]);
    else {
        add_to(range, range_of(args, bounds_of(args, row, firstQuery)));
        add_to(range, range_of(args, bounds_of(args, row, last)));
    }
    return range;
}

// The blocks of `size` keys that contain a range: those of the sinks, then those of the window. They are numbered from the last one back.
struct BlockList {
    int first = 0, last = 0, sinkFirst = 0, sinkLast = 0;

    __device__ __forceinline__ BlockList() {}
    __device__ __forceinline__ BlockList(const Range& range, int size) {
        if (range.high <= range.low) return;
        first = range.low / size;
        last = (range.high + size - 1) / size;
        if (!Sinks || range.sinkHigh <= range.sinkLow) return;
        sinkFirst = range.sinkLow / size;
        sinkLast = lesser((range.sinkHigh + size - 1) / size, first);
        if (sinkLast < sinkFirst) sinkLast = sinkFirst = 0;
    }

    __device__ __forceinline__ int count() const { return last - first + sinkLast - sinkFirst; }
    __device__ __forceinline__ int at(int i) const { return i < last - first ? last - 1 - i : sinkLast - 1 - (i - (last - first)); }
    __device__ __forceinline__ bool contains(int block) const { return (block >= first && block < last) || (block >= sinkFirst && block < sinkLast); }
    // Returns the number of a block counted from the first one on.
    __device__ __forceinline__ int rank(int block) const { return block >= first ? sinkLast - sinkFirst + block - first : block - sinkFirst; }
};

__device__ __forceinline__ bool sees_all(const Range& range, int firstKey, int count) { return firstKey >= range.inner && firstKey
    + count <= range.innerEnd; }

// The bounds of queries in shared memory, `count` queries of a tile: the first key in the window and the end of the keys; with sinks, also those of
// the sinks.
constexpr int BoundInts = Sinks ? 4 : 2;

__device__ __forceinline__ void write_bounds(int* to, int count, int i, const AttentionArguments& args, i64 row, int query) {
    Bounds bounds = {0, 0};
    if (query < args.queries) bounds = bounds_of(args, row, query);
    to[2 * i] = low_of(args, bounds);
    to[2 * i + 1] = bounds.end;
    if constexpr (Sinks) {
        to[2 * (count + i)] = bounds.begin;
        to[2 * (count + i) + 1] = lesser(bounds.begin + static_cast<int>(args.sinks), bounds.end);
    }
}

// ---- the ranges of blocks of 64 queries, from their bounds: one block of 64 threads each ----

__device__ __forceinline__ void attention_ranges_(const AttentionArguments& args) {
    DYNAMIC_SHARED(Range, all);
    const int query = static_cast<int>(blockIdx.x) * 64 + threadIdx.x;
    all[threadIdx.x] = query < args.queries ? range_of(args, bounds_of(args, blockIdx.y, query)) : no_range();
    __syncthreads();
    if (threadIdx.x > 0) return;
    Range range = no_range();
    for (int i = 0; i < 64; i++) add_to(range, all[i]);
    args.ranges[blockIdx.y * (rounded_up(args.queries, 64) / 64) + blockIdx.x] = range;
}

// Returns dynamic shared memory from a multiple of 1024 bytes on.
__device__ __forceinline__ u16* aligned_tiles(u16* shared) {
#ifdef HYBRID_EMULATION
    return shared;
#else
    return shared + (1024 - place_of(shared).address % 1024) % 1024 / 2;
#endif
}

// Records are read and written by ordinary loads and stores, and handed over at barriers at which each lane of a warp arrives separately. One lane
// could arrive for its warp after `sync_warp`, but the racecheck of compute-sanitizer does not follow that order and reports hazards.
#ifndef ATT_LANES
#define ATT_LANES 32
#endif
constexpr int RecordLanes = ATT_LANES;

// Returns the position in a ring of `Count` stages, and the parity of its barriers.
template <int Count> struct Turn {
    int stage = 0;
    unsigned parity = 0;

    __device__ __forceinline__ void next() {
        stage = stage + 1 < Count ? stage + 1 : 0;
        parity ^= stage == 0;
    }
};
