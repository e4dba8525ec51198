// Matrix products of tensor cores (mma.sync m16n8k16, bfloat16 with float32 sums), the loads that go with them. All of it is in every card from compute capability 8.0 on. Each piece stands beside a plain C++ twin for the emulation.
//
// In a 16 x 16 block that a warp holds as an A operand, the lane q + 4 r holds in word 0 the elements (r, 2q) and (r, 2q + 1), in word 1 those of row r + 8, in words
// 2 and 3 those of columns + 8. A B operand of 16 x 8 holds (2q, r), (2q + 1, r) and those of rows + 8. Sums of 16 x 8 hold (r, 2q), (r, 2q + 1), and both of row r + 8.
#pragma once
#include "common.cuh"

using u16 = unsigned short;

struct alignas(8) Two { float x, y; };

__device__ __forceinline__ float first_of(unsigned word) { return as_float(word << 16); }
__device__ __forceinline__ float second_of(unsigned word) { return as_float(word & 0xffff0000u); }

// d += a b
__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef HYBRID_EMULATION
    struct { unsigned a[4], b[2]; } own = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    emulation::show(own, [&](auto of) {
        const unsigned r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
        for (int e = 0; e < 4; e++) {
            const unsigned row = r + e / 2 * 8, column = 2 * q + e % 2;
            float sum = d[e];
            for (unsigned k = 0; k < 16; k++) {
                const unsigned left = of(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], right = of(column * 4 + k % 8 / 2).b[k / 8];
                sum += (k % 2 ? second_of(left) : first_of(left)) * (k % 2 ? second_of(right) : first_of(right));
            }
            d[e] = sum;
        }
    });
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

#ifndef HYBRID_EMULATION
__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    unsigned result;
    asm("{ .reg .u64 wide; cvta.to.shared.u64 wide, %1; cvt.u32.u64 %0, wide; }" : "=r"(result) : "l"(pointer));
    return result;
}
#endif

// Four 8 x 8 blocks of 16-bit elements from shared memory: lanes 8i to 8i + 7 name the rows of block i, 16 bytes each; lane q + 4r gets elements 2q and 2q + 1 of
// row r, or of column r with Transposed.
template <bool Transposed> __device__ __forceinline__ void load_blocks(unsigned (&words)[4], const u16* row) {
#ifdef HYBRID_EMULATION
    if (reinterpret_cast<uintptr_t>(row) % 16) emulation::fail("a row of a block that does not begin at 16 bytes");
    emulation::show(row, [&](auto of) {
        const unsigned r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
        for (unsigned i = 0; i < 4; i++)
            words[i] = Transposed ? of(8 * i + 2 * q)[r] | static_cast<unsigned>(of(8 * i + 2 * q + 1)[r]) << 16 : of(8 * i + r)[2 * q] | static_cast<unsigned>(of(8 * i + r)[2 * q + 1]) << 16;
    });
#else
    if constexpr (Transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(shared_address(row)));
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(shared_address(row)));
#endif
}

// an 8 x 8 block of 16-bit elements, held as load_blocks leaves it, turned over
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

// In the four lanes of a quad, lane q holds word q of four pieces of 16 bytes; after it, lane q holds piece q.
__device__ __forceinline__ void gather_pieces(unsigned (&words)[4]) {
    const unsigned q = threadIdx.x % 4;
    auto exchange = [&](unsigned word, int offset) { return as_bits(from_lane_xor(as_float(word), offset)); };
    unsigned a = exchange(q & 1 ? words[0] : words[1], 1), b = exchange(q & 1 ? words[2] : words[3], 1);
    if (q & 1) { words[0] = a; words[2] = b; } else { words[1] = a; words[3] = b; }
    a = exchange(q & 2 ? words[0] : words[2], 2);
    b = exchange(q & 2 ? words[1] : words[3], 2);
    if (q & 2) { words[0] = a; words[1] = b; } else { words[2] = a; words[3] = b; }
}
