// What the attention kernels share: their arguments, which keys a query sees, and which blocks of keys a block of queries visits.
//
// Query i of a row sees key j where begin[i] <= j < end[i], and, with a window, end[i] - j <= window or j < begin[i] + sinks. Where no bounds are
// given, a row is one text whose last query
// stands at its last key: begin is 0 and end is i + 1 + keys - queries.
#pragma once
#include "attention_products.cuh"

// the host compiles the kernels once for each shape it meets
#ifndef ATT_D
#define ATT_D 64                // elements of a query's and a key's head, rounded up to 16
#define ATT_E 64                // elements of a value's head, likewise
#define ATT_SINKS 0             // whether there are sinks
#define ATT_CAP 0               // whether scores are capped
#endif

constexpr int D = ATT_D, E = ATT_E;
constexpr int DTiles = (D + 63) / 64, ETiles = (E + 63) / 64, DSteps = D / 16, ESteps = E / 16;
constexpr bool Sinks = ATT_SINKS, Capped = ATT_CAP;

static_assert(D % 16 == 0 && E % 16 == 0, "sizes that products take");

// the instructions of attention_products.cuh are there on compute capability 9.0a alone
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define ATT_WHOLE 1
#else
#define ATT_WHOLE 0
#endif

// what of the keys a block of queries sees: all that any sees lie in [low, high) or [sinkLow, sinkHigh); all see those from `inner` to `innerEnd`
struct Range { int low, high, sinkLow, sinkHigh, inner, innerEnd; };

struct AttentionArguments {
    TensorMap query, key, value, output, gradient, dKey, dValue;                // (batch, tokens, heads, elements of a head), bfloat16
    const int* bounds;                              // (batch, queries rounded up to 64, 2): begin and end; or null
    Range* ranges;                                  // (batch, blocks of 64 queries), where bounds are given
    int* visitors;                                  // (batch, blocks of keys, 2), where bounds are given: see `visitors` of the backward kernels
    float *logarithms, *delta;                      // (batch, heads, queries rounded up to 128): log2 of exponentials' sum; output x gradient
    float* dQuerySums;                              // (batch, heads, blocks of queries, see `finish`)
    int *turns, *ticket;                            // (batch, heads, blocks of queries): blocks of keys that have added; blocks that have begun
    void* dQuery;                                   // (batch, queries, heads, dQuerySize) bfloat16
    const void *plainOutput, *plainGradient;        // output and gradient again, for plain loads
    i64 gradientRow, gradientToken, gradientHead;   // elements between them
    i64 batch, queries, keys, heads, keyHeads, dQuerySize, valueSize;
    i64 window, sinks;
    i64 together;                                   // rows' heads whose blocks are taken before those of others: see `line_block_of`
    const float* sinkLogits;                        // (heads), or null: scores without a key
    float scale, scaleLog2;                         // of the scores, and with log2(e)
    float cap, capLog2;                             // where scores s = scale q k are capped: scale / cap, and the cap with log2(e)
};
// without the rest that maps aligned to 64 bytes bring
static_assert(sizeof(AttentionArguments) == 7 * 128 + (alignof(TensorMap) == 64 ? 256 : 216), "as the host has it");

__device__ __forceinline__ int lesser(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int greater(int a, int b) { return a > b ? a : b; }

__device__ __forceinline__ float minus_infinity() { return as_float(0xff800000u); }

// of two numbers, none of which is NaN
__device__ __forceinline__ float greater_of(float a, float b) {
#ifdef HYBRID_EMULATION
    return a > b ? a : b;
#else
    float result; asm("max.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b)); return result;
#endif
}

// relative error near 2^-11, which is below what rounding queries and keys to bfloat16 costs
__device__ __forceinline__ float tanh_approximate(float x) {
#ifdef HYBRID_EMULATION
    return tanhf(x);
#else
    float result; asm("tanh.approx.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

__device__ __forceinline__ i64 rounded_up(i64 number, int to) { return (number + to - 1) / to * to; }

struct Bounds { int begin, end; };

// block number `block` of the line (a row's head) number `line`
struct LineBlock { int line, block; };

// The blocks of all lines in the order they are taken: `together` lines at a time, so that what their blocks share stays in the second-level
// cache; of these first block 0 of each, then block 1.
__device__ __forceinline__ LineBlock line_block_of(const AttentionArguments& a, int number, int lines, int blocks) {
    const int together = static_cast<int>(a.together), before = number / (together * blocks) * together, within = number - before * blocks, count =
        lesser(together, lines - before);
    return {before + within % count, within / count};
}

__device__ __forceinline__ Bounds bounds_of(const AttentionArguments& a, i64 row, int query) {
    if (a.bounds) {
        const int* at = a.bounds + (row * rounded_up(a.queries, 64) + query) * 2;
        return {at[0], at[1]};
    }
    const int end = query + 1 + static_cast<int>(a.keys - a.queries), keys = static_cast<int>(a.keys);
    return {0, lesser(end, keys)};
}

// the first key within the window
__device__ __forceinline__ int low_of(const AttentionArguments& a, const Bounds& bounds) {
    const int low = bounds.end - static_cast<int>(a.window);
    return greater(low, bounds.begin);
}

__device__ __forceinline__ Range no_range() { return {0x7fffffff, 0, 0x7fffffff, 0, 0, 0x7fffffff}; }

__device__ __forceinline__ void add_to(Range& range, const Range& other) {
    range = {lesser(range.low, other.low), greater(range.high, other.high), lesser(range.sinkLow, other.sinkLow),
        greater(range.sinkHigh, other.sinkHigh),
        greater(range.inner, other.inner), lesser(range.innerEnd, other.innerEnd)};
}

__device__ __forceinline__ Range range_of(const AttentionArguments& a, const Bounds& bounds) {
    Range range = no_range();
    if (bounds.end <= bounds.begin) range.innerEnd = 0;
    else {
        range.low = range.inner = low_of(a, bounds);
        range.high = range.innerEnd = bounds.end;
        if (Sinks && range.low > bounds.begin) {
            range.sinkLow = bounds.begin;
            range.sinkHigh = lesser(bounds.begin + static_cast<int>(a.sinks), range.low);
        }
    }
    return range;
}

// of a block of queries (a multiple of 64) of a row, from `first` on
__device__ __forceinline__ Range range_of(const AttentionArguments& a, i64 row, int first, int count) {
    const int queries = static_cast<int>(a.queries), last = lesser(first + count, queries) - 1;
    Range range = no_range();
    if (a.bounds)
        for (int block = first / 64; block <= last / 64; block++) add_to(range, a.ranges[row * (rounded_up(a.queries, 64) / 64) + block]);
    else {
        add_to(range, range_of(a, bounds_of(a, row, first)));
        add_to(range, range_of(a, bounds_of(a, row, last)));
    }
    return range;
}

// The blocks of `size` keys that hold what a range does: those of the sinks, then those of the window. Numbered from the last one back.
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
    // the number of a block counted from the first one on
    __device__ __forceinline__ int rank(int block) const { return block >= first ? sinkLast - sinkFirst + block - first : block - sinkFirst; }
};

__device__ __forceinline__ bool sees_all(const Range& range, int firstKey, int count) { return firstKey >= range.inner && firstKey
    + count <= range.innerEnd; }

// A query's bounds as kernels hold them in shared memory, `count` queries of a tile: the first key within the window and where its keys end; then,
// with sinks, those of the sinks likewise.
constexpr int BoundInts = Sinks ? 4 : 2;

__device__ __forceinline__ void write_bounds(int* to, int count, int i, const AttentionArguments& a, i64 row, int query) {
    Bounds bounds = {0, 0};
    if (query < a.queries) bounds = bounds_of(a, row, query);
    to[2 * i] = low_of(a, bounds);
    to[2 * i + 1] = bounds.end;
    if constexpr (Sinks) {
        to[2 * (count + i)] = bounds.begin;
        to[2 * (count + i) + 1] = lesser(bounds.begin + static_cast<int>(a.sinks), bounds.end);
    }
}

// dynamic shared memory from a multiple of 1024 bytes on
__device__ __forceinline__ u16* aligned_tiles(u16* shared) {
#ifdef HYBRID_EMULATION
    return shared;
#else
    return shared + (1024 - place_of(shared).address % 1024) % 1024 / 2;
#endif
}

// Cards, which ordinary loads and stores read and write, change hands at barriers at which each lane of a warp arrives for itself. One lane could
// arrive for its warp after `sync_warp`, but compute-sanitizer's racecheck does not follow that order and reports hazards.
#ifndef ATT_LANES
#define ATT_LANES 32
#endif
constexpr int CardLanes = ATT_LANES;

// a place in a ring of `Count` stages, and the parity of the barriers there
template <int Count> struct Turn {
    int stage = 0;
    unsigned parity = 0;

    __device__ __forceinline__ void next() {
        stage = stage + 1 < Count ? stage + 1 : 0;
        parity ^= stage == 0;
    }
};
