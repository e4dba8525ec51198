// Matrix products of tensor cores (mma.sync m16n8k16, bfloat16 with float32 sums) and the loads for them. All of it exists on every GPU from compute
// capability 8.0 on. Each piece has a C++ equivalent for the emulation.
//
// In a 16 x 16 block that a warp has as an A operand, lane q + 4 r has the elements (r, 2q) and (r, 2q + 1) in word 0, those of row r + 8 in word 1,
// and those of columns + 8 in words 2 and 3. A B operand of 16 x 8 has (2q, r), (2q + 1, r) and those of rows + 8. Sums of 16 x 8 have (r, 2q), (r,
// 2q + 1), and both of row r + 8.
#pragma once
#include "common.cuh"

using u16 = unsigned short;

struct alignas(8) Two { float x, y; };

__device__ __forceinline__ float first_of(unsigned word) { return as_float(word << 16); }
__device__ __forceinline__ float second_of(unsigned word) { return as_float(word & 0xffff0000u); }

// Computes d += a b for the four sums of d from number `first` on.
template <int Count> __device__ __forceinline__ void multiply_add(float (&d)[Count], int first, const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef HYBRID_EMULATION
    struct { unsigned a[4], b[2]; } operands = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    emulation::show(operands, [&](auto of) {
        const unsigned r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
        for (int e = 0; e < 4; e++) {
            const unsigned row = r + e / 2 * 8, column = 2 * q + e % 2;
            float sum = d[first + e];
            for (unsigned k = 0; k < 16; k++) {
                const unsigned left = of(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], right = of(column * 4 + k % 8 / 2).b[k / 8];
                sum += (k % 2 ? second_of(left) : first_of(left)) * (k % 2 ? second_of(right) : first_of(right));
            }
            d[first + e] = sum;
        }
    });
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[first]), "+f"(d[first + 1]), "+f"(d[first + 2]), "+f"(d[first + 3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) { multiply_add(d, 0, a, b0, b1); }

// An address in shared memory as the instructions below take it: 32 bits on a GPU, so that computing an address costs at most one addition.
#ifdef HYBRID_EMULATION
using Place = u16*;
__device__ __forceinline__ Place place_of(u16* pointer) { return pointer; }
#else
struct Place {
    unsigned address;
    __device__ __forceinline__ Place operator+(int elements) const { return {address + 2 * elements}; }
};
__device__ __forceinline__ Place place_of(u16* pointer) {
#ifdef __clang__
    return {static_cast<unsigned>(reinterpret_cast<unsigned long long>((__attribute__((address_space(3))) u16*)pointer))};
#else
    return {static_cast<unsigned>(__cvta_generic_to_shared(pointer))};
#endif
}
#endif

// Loads four 8 x 8 blocks of 16-bit elements from shared memory. Lanes 8i to 8i + 7 pass the rows of block i, 16 bytes each. Lane q + 4r receives
// elements 2q and 2q + 1 of row r, or of column r with Transposed.
template <bool Transposed> __device__ __forceinline__ void load_blocks(unsigned (&words)[4], Place row) {
#ifdef HYBRID_EMULATION
    if (reinterpret_cast<uintptr_t>(row) % 16) emulation::fail("a row of a block that does not begin at 16 bytes");
    emulation::show(row, [&](auto of) {
        const unsigned r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
        for (unsigned i = 0; i < 4; i++)
            words[i] = Transposed ? of(8 * i + 2 * q)[r] | static_cast<unsigned>(of(8 * i + 2 * q + 1)[r]) << 16
                : of(8 * i + r)[2 * q] | static_cast<unsigned>(of(8 * i + r)[2 * q + 1]) << 16;
    });
#else
    if constexpr (Transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]),
            "=r"(words[3]) : "r"(row.address));
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]),
            "=r"(words[3]) : "r"(row.address));
#endif
}

// Stores four blocks, on compute capability 9.0. Lanes 8i to 8i + 7 pass the addresses of the rows of block i, 16 bytes each, or of its columns with
// Transposed.
template <bool Transposed> __device__ __forceinline__ void store_blocks(Place row, const unsigned (&words)[4]) {
#ifdef HYBRID_EMULATION
    struct { unsigned words[4]; } operands = {{words[0], words[1], words[2], words[3]}};
    emulation::show(operands, [&](auto of) {
        const unsigned i = threadIdx.x % 32 / 8, line = threadIdx.x % 8;
        for (unsigned at = 0; at < 8; at++) {
            const unsigned r = Transposed ? at : line, column = Transposed ? line : at;
            row[at] = static_cast<u16>(of(4 * r + column / 2).words[i] >> column % 2 * 16);
        }
    });
#else
    if constexpr (Transposed)
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" : : "r"(row.address), "r"(words[0]), "r"(words[1]),
            "r"(words[2]), "r"(words[3]) : "memory");
    else
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" : : "r"(row.address), "r"(words[0]), "r"(words[1]),
            "r"(words[2]), "r"(words[3]) : "memory");
#endif
}

// Copies a multiple of 16 bytes from shared to global memory while the thread works (compute capability 9.0). The data must be published, and must
// not change until `copied_out`.
__device__ __forceinline__ void copy_out(void* to, Place from, int bytes) {
#ifdef HYBRID_EMULATION
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16 || bytes % 16)
        emulation::fail("a copy from or to a place that 16 bytes do not divide");
    memcpy(to, from, bytes);
#else
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2; cp.async.bulk.commit_group;" : : "l"(to), "r"(from.address),
        "r"(bytes) : "memory");
#endif
}

__device__ __forceinline__ void copied_out() {
#ifndef HYBRID_EMULATION
    asm volatile("cp.async.bulk.wait_group.read 0;" : : : "memory");
#endif
}

// Copies 16 bytes while the thread works, like copy_async.
__device__ __forceinline__ void copy_async_16(Place to, const void* from, bool there) {
#ifdef HYBRID_EMULATION
    emulation::copy_later(to, from, 16, there);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to.address), "l"(from), "r"(there ? 16 : 0) : "memory");
#endif
}

// The same for data that are read once: of the second-level cache, they leave first.
__device__ __forceinline__ void copy_async_16_once(Place to, const void* from, bool there) {
#ifdef HYBRID_EMULATION
    emulation::copy_later(to, from, 16, there);
#else
    i64 policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" : : "r"(to.address), "l"(from), "r"(there ? 16 : 0), "l"(policy)
        : "memory");
#endif
}

// Transposes an 8 x 8 block of 16-bit elements in the layout of load_blocks.
__device__ __forceinline__ unsigned transpose_block(unsigned word) {
#ifdef HYBRID_EMULATION
    unsigned result = 0;
    emulation::show(word, [&](auto of) {
        const unsigned r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
        const unsigned low = of(8 * q + r / 2), high = of(8 * q + 4 + r / 2);
        result = (r % 2 ? low >> 16 : low & 0xffff) | (r % 2 ? high >> 16 : high & 0xffff) << 16;
    });
    return result;
#else
    unsigned result;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(word));
    return result;
#endif
}

// In the four lanes of a quad, lane q has word q of four pieces of 16 bytes. Afterwards, lane q has half q / 2 of pieces q % 2 and 2 + q % 2.
__device__ __forceinline__ void gather_halves(unsigned (&words)[4]) {
    const bool odd = threadIdx.x & 1;
    auto exchange = [&](unsigned word) { return as_bits(from_lane_xor(as_float(word), 1)); };
    const unsigned a = exchange(odd ? words[0] : words[1]), b = exchange(odd ? words[2] : words[3]);
    if (odd) { words[0] = a; words[2] = b; } else { words[1] = a; words[3] = b; }
}

// Word i of lane q of a quad becomes word q of lane i.
__device__ __forceinline__ void transpose_quad(unsigned (&words)[4]) {
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const unsigned low = words[i], high = words[i + 1], other = as_bits(from_lane_xor(as_float(odd ? low : high), 1));
        words[i] = odd ? other : low;
        words[i + 1] = odd ? high : other;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const unsigned low = words[i], high = words[i + 2], other = as_bits(from_lane_xor(as_float(upper ? low : high), 2));
        words[i] = upper ? other : low;
        words[i + 2] = upper ? high : other;
    }
}

// Returns a number that is the same in all lanes, and tells the compiler so.
__device__ __forceinline__ int uniform(int value) {
#ifdef HYBRID_EMULATION
    return value;
#elif defined(__clang__)
    return __nvvm_shfl_sync_idx_i32(0xffffffffu, value, 0, 31);
#else
    return __shfl_sync(0xffffffffu, value, 0);
#endif
}

// ---- products of four warps together (wgmma m64n64k16, only on compute capability 9.0a), which read shared memory themselves and run at the same
// time as the threads ----
//
// Their operands are tiles of 64 rows of 64 bfloat16: 128 bytes per row, whose i-th piece of 16 bytes is stored at i ^ row % 8, from a multiple of
// 1024 bytes on. Sums and left operands are distributed as above; warp w has rows 16 w to 16 w + 15. sums[4 n + e] is number e of the 8 columns from
// 8 n on.

constexpr int SwizzledTile = 64 * 64;

// Returns where element (row, column) of such a tile is stored. column is a multiple of 8, or in the same piece of 16 bytes as one.
__device__ __forceinline__ int swizzled(int row, int column) { return row * 64 + ((column / 8 ^ row % 8) * 8 + column % 8); }

#ifdef HYBRID_EMULATION
__device__ __forceinline__ float of_tile(
    const u16* tile, int row, int column) { return as_float(static_cast<unsigned>(tile[swizzled(row, column)]) << 16); }
struct Operand { const u16* tile; int row, column; };
__device__ __forceinline__ Operand operand(Place tile, int row, int column) { return {tile, row, column}; }
#else
using Operand = unsigned long long;
__device__ __forceinline__ Operand operand(Place tile, int row, int column) {
    // 8 rows are 1024 bytes in either direction; rows are swizzled over 128 bytes.
    constexpr unsigned long long layout = 1ull << 62 | 64ull << 32 | 64ull << 16;
    return layout | (tile.address + row * 128 + column * 2) >> 4;
}
#define SUMS_16(d) \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), \
    "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define SUMS_32(d) \
    SUMS_16(d), \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), \
    "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define WGMMA_SUMS \
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
#endif

// Computes sums = (added ? sums : 0) + a b^T over 16 columns of each, from their row and column on, for 64 rows of b, or 32 if there are 16 sums.
// With Rowwise, the sum goes over the 16 rows of b, for its 64 columns.
template <bool Rowwise, int Count> __device__ __forceinline__ void start_product(float (&sums)[Count], Operand a, Operand b, bool added) {
    static_assert(Count == 32 || (Count == 16 && !Rowwise), "64 or 32 columns");
#ifdef HYBRID_EMULATION
    const int r = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4, q = threadIdx.x % 4;
    for (int i = 0; i < Count; i++) {
        const int row = a.row + r + i % 4 / 2 * 8, column = i / 4 * 8 + 2 * q + i % 2;
        float sum = added ? sums[i] : 0;
        for (int k = 0; k < 16; k++)
            sum += of_tile(a.tile, row, a.column + k) * (
            Rowwise ? of_tile(b.tile, b.row + k, b.column + column) : of_tile(b.tile, b.row + column, b.column + k));
        sums[i] = sum;
    }
#else
    if constexpr (Count == 16)
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
            "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, %16, %17, p, 1, 1, 0, 0; }" : SUMS_16(sums) : "l"(a), "l"(b),
            "r"(static_cast<int>(added)));
    else if constexpr (Rowwise)
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0; " WGMMA_SUMS "%32, %33, p, 1, 1, 0, 1; }" : SUMS_32(sums) : "l"(a), "l"(b),
            "r"(static_cast<int>(added)));
    else
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0; " WGMMA_SUMS "%32, %33, p, 1, 1, 0, 0; }" : SUMS_32(sums) : "l"(a), "l"(b),
            "r"(static_cast<int>(added)));
#endif
}

// The same with a 64 x 16 operand in registers. With Rowwise, the sum goes over the 16 rows of b, for its 64 columns.
template <bool Rowwise> __device__ __forceinline__ void start_product(float (&sums)[32], const unsigned (&a)[4], Operand b, bool added) {
#ifdef HYBRID_EMULATION
    struct { unsigned a[4]; } operands = {{a[0], a[1], a[2], a[3]}};
    emulation::show(operands, [&](auto of) {
        const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
        for (int i = 0; i < 32; i++) {
            const int row = r + i % 4 / 2 * 8, column = i / 4 * 8 + 2 * q + i % 2;
            float sum = added ? sums[i] : 0;
            for (int k = 0; k < 16; k++) {
                const unsigned left = of(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2];
                sum += (k % 2 ? second_of(left) : first_of(left)) * (
                    Rowwise ? of_tile(b.tile, b.row + k, b.column + column) : of_tile(b.tile, b.row + column, b.column + k));
            }
            sums[i] = sum;
        }
    });
#else
    if constexpr (Rowwise)
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %37, 0; " WGMMA_SUMS "{%32, %33, %34, %35}, %36, p, 1, 1, 1; }"
            : SUMS_32(sums) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(added)));
    else
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %37, 0; " WGMMA_SUMS "{%32, %33, %34, %35}, %36, p, 1, 1, 0; }"
            : SUMS_32(sums) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(added)));
#endif
}

// Must be called before products whose registers the threads have written.
__device__ __forceinline__ void open_products() {
#ifndef HYBRID_EMULATION
    asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
#endif
}

__device__ __forceinline__ void close_products() {
#ifndef HYBRID_EMULATION
    asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
#endif
}

// Waits until at most Pending closed groups are still running.
template <int Pending> __device__ __forceinline__ void wait_for_products() {
#ifndef HYBRID_EMULATION
    asm volatile("wgmma.wait_group.sync.aligned %0;" : : "n"(Pending) : "memory");
#endif
}

// Prevents the compiler from moving what follows a wait before it.
template <int Count> __device__ __forceinline__ void settle(float (&sums)[Count]) {
#ifndef HYBRID_EMULATION
#pragma unroll
    for (int i = 0; i < Count; i++) asm volatile("" : "+f"(sums[i]) : : "memory");
#endif
}

// Makes the writes of this thread to shared memory visible to products after the next barrier. Products of single warps, which compute capability
// 8.0 has, need no more than the barrier.
__device__ __forceinline__ void publish() {
#if !defined(HYBRID_EMULATION) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;" : : : "memory");
#endif
}

// The barrier with this number, of `count` threads. Some threads wait until all have arrived, others only report their arrival. Number 0 is the
// barrier of the whole block. A warp arrives as one: if its threads may have diverged, call `sync_warp` before.
__device__ __forceinline__ void meet(int number, int count) {
#ifdef HYBRID_EMULATION
    emulation::barrier(emulation::named[number], count);
#else
    asm volatile("bar.sync %0, %1;" : : "r"(number), "r"(count) : "memory");
#endif
}

__device__ __forceinline__ void arrive(int number, int count) {
#ifdef HYBRID_EMULATION
    emulation::arrive(emulation::named[number], count);
#else
    asm volatile("bar.arrive %0, %1;" : : "r"(number), "r"(count) : "memory");
#endif
}

// Sets the number of registers of four warps from here on, a multiple of 8: warps that need few leave theirs to warps that need many. All threads of
// the four warps must be in the same branch of the kernel.
template <int Count> __device__ __forceinline__ void lower_registers() {
#ifndef HYBRID_EMULATION
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" : : "n"(Count));
#endif
}

template <int Count> __device__ __forceinline__ void raise_registers() {
#ifndef HYBRID_EMULATION
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" : : "n"(Count));
#endif
}

// ---- copies of whole tiles by the copy engine (compute capability 9.0), which count their bytes at a barrier in shared memory ----

// Describes a tensor (rows, tokens, elements of a token) for copies of 64 tokens of 64 elements each. The driver creates it.
#ifdef HYBRID_EMULATION
struct TensorMap { const char* base; unsigned long long sizes[3], strides[2], unused[10]; };
#else
struct alignas(64) TensorMap { unsigned long long words[16]; };
#endif
static_assert(sizeof(TensorMap) == 128, "as the driver has it");

#ifndef HYBRID_EMULATION
__device__ __forceinline__ unsigned long long address_of(const TensorMap& map) {
#ifdef __clang__
    return 0;                                            // clang would copy all arguments to take the address of one
#else
    return reinterpret_cast<unsigned long long>(&map);
#endif
}
#endif

// Initializes a barrier of 8 bytes whose phases end after a number of arrivals. All threads must synchronize before it is used.
__device__ __forceinline__ void open_barrier(Place at, int arrivals) {
#ifdef HYBRID_EMULATION
    emulation::open_landing(at, arrivals);
#else
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1; fence.mbarrier_init.release.cluster;" : : "r"(at.address), "r"(arrivals) : "memory");
#endif
}

// Arrives, and makes the phase wait for a number of bytes of copies.
__device__ __forceinline__ void expect(Place at, int bytes) {
#ifdef HYBRID_EMULATION
    emulation::expect(at, bytes);
#else
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" : : "r"(at.address), "r"(bytes) : "memory");
#endif
}

// Arrives at a barrier in shared memory.
__device__ __forceinline__ void arrive_at(Place at) {
#ifdef HYBRID_EMULATION
    emulation::expect(at, 0);
#else
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(at.address) : "memory");
#endif
}

// Waits until the phase of this parity, which begins with 0, has ended. Called by whole warps.
__device__ __forceinline__ void wait_for_copies(Place at, unsigned parity) {
#ifdef HYBRID_EMULATION
    emulation::wait_for_landing(at, parity);
#else
    unsigned done;
    do asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(done) : "r"(at.address),
        "r"(parity) : "memory");
    while (!done);
    sync_warp();
#endif
}

// Copies 64 tokens of 64 elements to a tile in the layout of products, with zeros outside of the tensor.
__device__ __forceinline__ void copy_tile(Place to, const TensorMap& map, int element, int token, int row, Place barrier) {
#ifdef HYBRID_EMULATION
    for (int t = 0; t < 64; t++)
        for (int piece = 0; piece < 8; piece++) {
            const bool there = static_cast<unsigned long long>(element + 8 * piece) < map.sizes[0]
                && static_cast<unsigned long long>(token + t) < map.sizes[1];
            emulation::copy_for(barrier, to + swizzled(t, 8 * piece),
                map.base + row * map.strides[1] + (token + t) * map.strides[0] + (element + 8 * piece) * 2, 16, there);
        }
#else
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];"
        : : "r"(to.address), "l"(address_of(map)), "r"(element), "r"(token), "r"(row), "r"(barrier.address) : "memory");
#endif
}

// Copies a tile back. Nothing outside of the tensor is written. The data must be published, and must not change until `copied_out`.
__device__ __forceinline__ void copy_tile_out(const TensorMap& map, int element, int token, int row, Place from) {
#ifdef HYBRID_EMULATION
    for (int t = 0; t < 64; t++)
        for (int piece = 0; piece < 8; piece++)
            if (static_cast<unsigned long long>(element + 8 * piece) < map.sizes[0] && static_cast<unsigned long long>(token + t) < map.sizes[1])
                memcpy(const_cast<char*>(map.base) + row * map.strides[1] + (token + t) * map.strides[0] + (element + 8 * piece) * 2,
                    from + swizzled(t, 8 * piece), 16);
#else
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4]; cp.async.bulk.commit_group;"
        : : "l"(address_of(map)), "r"(element), "r"(token), "r"(row), "r"(from.address) : "memory");
#endif
}

// a multiple of 16 bytes
__device__ __forceinline__ void copy_in(Place to, const void* from, int bytes, Place barrier) {
#ifdef HYBRID_EMULATION
    emulation::copy_for(barrier, to, from, bytes, true);
#else
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" : : "r"(to.address), "l"(from), "r"(bytes),
        "r"(barrier.address) : "memory");
#endif
}
