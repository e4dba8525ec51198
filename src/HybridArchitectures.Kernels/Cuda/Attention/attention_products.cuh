// Products of four warps together (wgmma, compute capability 9.0a) with any number of columns that is a multiple of 16, and copies of tokens of a
// head by the copy engine.
//
// Tiles in shared memory consist of column tiles of 64 elements: a tile of R rows and C columns is C / 64 consecutive blocks of R rows of 128 bytes
// each, whose i-th piece of 16 bytes is stored at i ^ row % 8. Sums and operands in registers are distributed over lanes as described in
// tensor_cores.cuh.
#pragma once
#include "tensor_cores.cuh"

#ifdef HYBRID_EMULATION
// `across`: elements between neighbouring column tiles
struct Slice { const u16* tile; int row, column, across; };
__device__ __forceinline__ Slice slice(Place tile, int row, int column, int across) { return {tile, row, column, across}; }
__device__ __forceinline__ float element_of(const Slice& s, int row, int column) {
    const int tileRow = s.row + row, tileColumn = s.column + column;
    return as_float(static_cast<unsigned>(s.tile[tileColumn / 64 * s.across + swizzled(tileRow, tileColumn % 64)]) << 16);
}
#else
using Slice = unsigned long long;
// The operand whose first element is (row, column), with column below 64. Eight rows are 1024 bytes. Column tiles, which matter only for rowwise
// operands of over 64 columns, are `across` elements apart.
__device__ __forceinline__ Slice slice(Place tile, int row, int column, int across) {
    return 1ull << 62 | 64ull << 32 | static_cast<unsigned long long>(across / 8) << 16 | (tile.address + row * 128 + column * 2) >> 4;
}

#define ATT_S8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define ATT_S16(d, i) ATT_S8(d, i), ATT_S8(d, i + 8)
#define ATT_S32(d, i) ATT_S16(d, i), ATT_S16(d, i + 16)
#define ATT_S64(d, i) ATT_S32(d, i), ATT_S32(d, i + 32)
#define ATT_R8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define ATT_R16 ATT_R8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define ATT_R32 ATT_R16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ATT_R64 ATT_R32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
// Both operands in shared memory: columns, sums, their registers, the numbers of the three following operands, whether b is rowwise.
#define ATT_SHARED(n, sums_, registers, a_, b_, added_, rowwise) \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #added_ ", 0; " \
        "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, %" #a_ ", %" #b_ ", p, 1, 1, 0, " #rowwise "; }" \
        : sums_ : "l"(a), "l"(b), "r"(static_cast<int>(added)))
#define ATT_HELD(n, sums_, registers, a0, a1, a2, a3, b_, added_, rowwise) \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #added_ ", 0; " \
        "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b_ \
        ", p, 1, 1, " #rowwise "; }" : sums_ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(added)))
#endif

// Computes sums[First ...] = (added ? sums : 0) + a b^T over 16 columns of each, for Columns (16, 32, 64 or 128) rows of b. With Rowwise, the sum
// goes over the 16 rows of b, for its Columns columns.
template <int Columns, int First, bool Rowwise, int Count> __device__ __forceinline__ void start_piece(float (&sums)[Count], Slice a, Slice b,
    bool added) {
    static_assert((Columns == 16 || Columns == 32 || Columns == 64 || Columns == 128) && First + Columns / 2 <= Count, "a piece of the sums");
#ifdef HYBRID_EMULATION
    const int laneRow = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4, quadLane = threadIdx.x % 4;
    for (int i = 0; i < Columns / 2; i++) {
        const int row = laneRow + i % 4 / 2 * 8, column = i / 4 * 8 + 2 * quadLane + i % 2;
        float sum = added ? sums[First + i] : 0;
        for (int k = 0; k < 16; k++) sum += element_of(a, row, k) * (Rowwise ? element_of(b, k, column) : element_of(b, column, k));
        sums[First + i] = sum;
    }
#else
    if constexpr (Columns == 128 && Rowwise) ATT_SHARED(128, ATT_S64(sums, First), ATT_R64, 64, 65, 66, 1);
    else if constexpr (Columns == 128) ATT_SHARED(128, ATT_S64(sums, First), ATT_R64, 64, 65, 66, 0);
    else if constexpr (Columns == 64 && Rowwise) ATT_SHARED(64, ATT_S32(sums, First), ATT_R32, 32, 33, 34, 1);
    else if constexpr (Columns == 64) ATT_SHARED(64, ATT_S32(sums, First), ATT_R32, 32, 33, 34, 0);
    else if constexpr (Columns == 32 && Rowwise) ATT_SHARED(32, ATT_S16(sums, First), ATT_R16, 16, 17, 18, 1);
    else if constexpr (Columns == 32) ATT_SHARED(32, ATT_S16(sums, First), ATT_R16, 16, 17, 18, 0);
    else if constexpr (Rowwise) ATT_SHARED(16, ATT_S8(sums, First), ATT_R8, 8, 9, 10, 1);
    else ATT_SHARED(16, ATT_S8(sums, First), ATT_R8, 8, 9, 10, 0);
#endif
}

// The same with a, 64 x 16, in registers.
template <int Columns, int First, bool Rowwise, int Count> __device__ __forceinline__ void start_piece(float (&sums)[Count], const unsigned (&a)[4],
    Slice b, bool added) {
    static_assert((Columns == 16 || Columns == 32 || Columns == 64 || Columns == 128) && First + Columns / 2 <= Count, "a piece of the sums");
#ifdef HYBRID_EMULATION
    struct { unsigned a[4]; } shown = {{a[0], a[1], a[2], a[3]}};
    emulation::show(shown, [&](auto of) {
        const int laneRow = threadIdx.x % 32 / 4, quadLane = threadIdx.x % 4;
        for (int i = 0; i < Columns / 2; i++) {
            const int row = laneRow + i % 4 / 2 * 8, column = i / 4 * 8 + 2 * quadLane + i % 2;
            float sum = added ? sums[First + i] : 0;
            for (int k = 0; k < 16; k++) {
                const unsigned left = of(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2];
                sum += (k % 2 ? second_of(left) : first_of(left)) * (Rowwise ? element_of(b, k, column) : element_of(b, column, k));
            }
            sums[First + i] = sum;
        }
    });
#else
    if constexpr (Columns == 128 && Rowwise) ATT_HELD(128, ATT_S64(sums, First), ATT_R64, 64, 65, 66, 67, 68, 69, 1);
    else if constexpr (Columns == 128) ATT_HELD(128, ATT_S64(sums, First), ATT_R64, 64, 65, 66, 67, 68, 69, 0);
    else if constexpr (Columns == 64 && Rowwise) ATT_HELD(64, ATT_S32(sums, First), ATT_R32, 32, 33, 34, 35, 36, 37, 1);
    else if constexpr (Columns == 64) ATT_HELD(64, ATT_S32(sums, First), ATT_R32, 32, 33, 34, 35, 36, 37, 0);
    else if constexpr (Columns == 32 && Rowwise) ATT_HELD(32, ATT_S16(sums, First), ATT_R16, 16, 17, 18, 19, 20, 21, 1);
    else if constexpr (Columns == 32) ATT_HELD(32, ATT_S16(sums, First), ATT_R16, 16, 17, 18, 19, 20, 21, 0);
    else if constexpr (Rowwise) ATT_HELD(16, ATT_S8(sums, First), ATT_R8, 8, 9, 10, 11, 12, 13, 1);
    else ATT_HELD(16, ATT_S8(sums, First), ATT_R8, 8, 9, 10, 11, 12, 13, 0);
#endif
}

// The same for all Columns (a multiple of 16), in pieces. b begins at row `row` and column `column` of its tile, whose column tiles are `across`
// elements apart. Without Rowwise, its rows are from `row` on and its 16 columns from `column` on. With Rowwise, its 16 rows are from `row` on and
// its columns from `column` on; they do not cross from one column tile to another unless they begin with one.
template <int Columns, int From, bool Rowwise, int Count, class A>
__device__ __forceinline__ void start_products(float (&sums)[Count], const A& a, Place b, int row, int column, int across, bool added) {
    if constexpr (Columns > 0) {
        constexpr int piece = Columns >= 128 ? 128 : Columns >= 64 ? 64 : Columns >= 32 ? 32 : 16;
        if constexpr (Rowwise) start_piece<piece, From / 2, true>(sums, a, slice(b + (column + From) / 64 * across, row, (column + From) % 64,
            across), added);
        else start_piece<piece, From / 2, false>(sums, a, slice(b + column / 64 * across, row + From, column % 64, across), added);
        start_products<Columns - piece, From + piece, Rowwise>(sums, a, b, row, column, across, added);
    }
}

// Sums of 64 x 16 Steps as left operands; the layouts are the same.
template <int Steps, int Count> __device__ __forceinline__ void as_operands(unsigned (&operands)[Steps][4], const float (&sums)[Count]) {
    static_assert(Count == 8 * Steps, "16 columns a step");
#pragma unroll
    for (int k = 0; k < Steps; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) operands[k][i] = round_to_bfloat16_pair(sums[8 * k + 2 * i], sums[8 * k + 2 * i + 1]);
}

// ---- tensors of heads: (rows, tokens, heads, elements), as the driver maps them for copies of 64 tokens of 64 elements of one head ----

#ifdef HYBRID_EMULATION
// elements, heads, tokens, rows; bytes between heads, tokens, rows
struct HeadMap { char* base; unsigned long long sizes[4], strides[3]; };
__device__ __forceinline__ HeadMap as_heads(const TensorMap& map) { HeadMap heads; memcpy(&heads, &map, sizeof(heads)); return heads; }
#endif

// zeros outside of the tensor
__device__ __forceinline__ void copy_head(Place to, const TensorMap& map, int element, int head, int token, int row, Place barrier) {
#ifdef HYBRID_EMULATION
    const HeadMap heads = as_heads(map);
    for (int t = 0; t < 64; t++)
        for (int piece = 0; piece < 8; piece++) {
            const bool there = static_cast<unsigned long long>(element + 8 * piece) < heads.sizes[0]
                && static_cast<unsigned long long>(token + t) < heads.sizes[2];
            emulation::copy_for(barrier, to + swizzled(t, 8 * piece),
                heads.base + row * heads.strides[2] + (token + t) * heads.strides[1] + head * heads.strides[0] + (element + 8 * piece) * 2, 16,
                    there);
        }
#else
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];"
        : : "r"(to.address), "l"(address_of(map)), "r"(element), "r"(head), "r"(token), "r"(row), "r"(barrier.address) : "memory");
#endif
}

// Copies a tile back. Nothing outside of the tensor is written. The data must be published, and must not change until `copied_out`.
__device__ __forceinline__ void copy_head_out(const TensorMap& map, int element, int head, int token, int row, Place from) {
#ifdef HYBRID_EMULATION
    const HeadMap heads = as_heads(map);
    for (int t = 0; t < 64; t++)
        for (int piece = 0; piece < 8; piece++)
            if (static_cast<unsigned long long>(element + 8 * piece) < heads.sizes[0] && static_cast<unsigned long long>(token + t) < heads.sizes[2])
                memcpy(heads.base + row * heads.strides[2] + (token + t) * heads.strides[1] + head * heads.strides[0] + (element + 8 * piece) * 2,
                    from + swizzled(t, 8 * piece), 16);
#else
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3, %4}], [%5]; cp.async.bulk.commit_group;"
        : : "l"(address_of(map)), "r"(element), "r"(head), "r"(token), "r"(row), "r"(from.address) : "memory");
#endif
}

// ---- float32 sums in global memory, to which blocks add in a fixed order ----

// Writes (or with Add adds) a multiple of 16 bytes of float32 from shared to global memory. The data must be published.
template <bool Add> __device__ __forceinline__ void copy_sums_out(float* to, Place from, int bytes) {
#ifdef HYBRID_EMULATION
    const float* values = reinterpret_cast<const float*>(from);
    for (int i = 0; i < bytes / 4; i++) to[i] = Add ? to[i] + values[i] : values[i];
#else
    if constexpr (Add)
        asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2; cp.async.bulk.commit_group;"
            : : "l"(to), "r"(from.address), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2; cp.async.bulk.commit_group;"
            : : "l"(to), "r"(from.address), "r"(bytes) : "memory");
#endif
}

// Waits until the copies of this thread have reached global memory.
__device__ __forceinline__ void written_out() {
#ifndef HYBRID_EMULATION
    asm volatile("cp.async.bulk.wait_group 0;" : : : "memory");
#endif
}

// Waits until the counter is `turn`.
__device__ __forceinline__ void wait_for_turn(const int* counter, int turn) {
#ifdef HYBRID_EMULATION
    if (*counter != turn) emulation::fail("a turn that has not come");
#else
    int now;
    do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
    while (now != turn);
    asm volatile("fence.proxy.async;" : : : "memory");
#endif
}

__device__ __forceinline__ void pass_turn(int* counter, int turn) {
#ifdef HYBRID_EMULATION
    *counter = turn;
#else
    asm volatile("fence.proxy.async; fence.acq_rel.gpu; st.release.gpu.global.s32 [%0], %1;" : : "l"(counter), "r"(turn) : "memory");
#endif
}

// Returns the next number of a counter.
__device__ __forceinline__ int take_ticket(int* counter) {
#ifdef HYBRID_EMULATION
    return (*counter)++;
#else
    int ticket;
    asm volatile("atom.global.add.s32 %0, [%1], 1;" : "=r"(ticket) : "l"(counter) : "memory");
    return ticket;
#endif
}
