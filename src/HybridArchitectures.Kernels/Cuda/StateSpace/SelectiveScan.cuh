// What the kernels of the selective scan share: their arguments, the softplus, and stores without a branch.
#pragma once
#include "common.cuh"

// The host defines whether there are a gate, a softplus and documents, so that the kernels need no branches for them.
#ifndef SCAN_GATED
#define SCAN_GATED (args.z.base != nullptr)
#endif
#ifndef SCAN_SOFTPLUS
#define SCAN_SOFTPLUS (args.softplus != 0)
#endif
#ifndef SCAN_DOCUMENTS
#define SCAN_DOCUMENTS (args.starts != nullptr)
#endif

// Stores values if `there` is true, without a branch.
template <class T, int V> __device__ __forceinline__ void store_where(bool there, T* to, const float (&values)[V]) {
#ifndef HYBRID_EMULATION
    const Raw<T, V> raw = pack<T, V>(values);
    if constexpr (V * sizeof(T) == 2) asm volatile(
        "{ .reg .pred p; setp.ne.s32 p, %0, 0; @p st.global.u16 [%1], %2; }" : : "r"(static_cast<int>(there)), "l"(to), "h"(raw.value.bits));
    else if constexpr (V * sizeof(T) == 4)
        asm volatile("{ .reg .pred p; setp.ne.s32 p, %0, 0; @p st.global.u32 [%1], %2; }" : : "r"(static_cast<int>(there)), "l"(to),
            "r"(raw.bits.words[0]));
    else if constexpr (V * sizeof(T) == 8)
        asm volatile("{ .reg .pred p; setp.ne.s32 p, %0, 0; @p st.global.v2.u32 [%1], {%2, %3}; }" : :
            "r"(static_cast<int>(there)), "l"(to), "r"(raw.bits.words[0]), "r"(raw.bits.words[1]));
    else
        asm volatile("{ .reg .pred p; setp.ne.s32 p, %0, 0; @p st.global.v4.u32 [%1], {%2, %3, %4, %5}; }" : :
            "r"(static_cast<int>(there)), "l"(to), "r"(raw.bits.words[0]), "r"(raw.bits.words[1]), "r"(raw.bits.words[2]), "r"(raw.bits.words[3]));
#else
    if (there) store<T, V>(to, 0, values);
#endif
}

__device__ __forceinline__ float magnitude(float x) {
#ifdef HYBRID_EMULATION
    return x < 0 ? -x : x;
#else
    float result; asm("abs.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

// Computes log(1 + e^x) to 2^-23 with one special function: with e = e^-|x| in [0, 1], it is max(x, 0) + e p(e).
__device__ __forceinline__ float softplus_polynomial(float x) {
    const float e = exp2_approximate(magnitude(x) * -log2_e);
    float p = 5.36482621e-3f;
    p = p * e - 3.00657998e-2f;
    p = p * e + 7.92045476e-2f;
    p = p * e - 1.37538033e-1f;
    p = p * e + 1.91536554e-1f;
    p = p * e - 2.48571638e-1f;
    p = p * e + 3.33213226e-1f;
    p = p * e - 4.99996480e-1f;
    p = p * e + 1.f;
    return p * e + (x > 0 ? x : 0.f);
}

// Correction of the exponent of each decay where 2^x is the instruction of the GPU, whose results are too low. On an H100, the mean error per octave
// is 5e-9 to 9e-9 for x from -2^-9 to -2^-19, and 1.6e-8 to 2.7e-8 for x from -1 to -2^-8. A state that decays slowly is multiplied by it hundreds of
// times, and the correction fits those. It is an immediate of a multiply-add and costs nothing. A step of 0 still preserves a state exactly, because
// the GPU's 2^x is 1 for |x| below 2^-23.
constexpr float decay_raise = 9e-9f;

struct ScanArguments {
    Typed x, dt, z, B, C, gradient;  // (batch, length, channels) with strides; B and C: (batch, length, groups, states), contiguous
    // (channels, states), (channels) twice, (batch, channels, states) twice; all but A can be null
    const float *A, *D, *dtBias, *initial, *finalGradient;
    const bool* starts;  // (batch, length), or null
    const i64* lengths;  // (batch), or null
    TypedOutput output, dX, dDt, dZ;  // contiguous
    // (batch, channels, states); (batch, tiles, warps of a row, states of a warp in the order of its threads), or null
    float *final, *saved;
    // (batch, chunks, channels, states), (blocks of a group, batch, length, groups, states) twice, (batch, chunks, channels) twice, like final
    float *dA, *dB, *dC, *dD, *dDtBias, *dInitial;
    // (batch, chunks, channels, states), (batch, chunks, channels) if a row is divided into chunks; else null
    float *chunkStates, *chunkSteps;
    // chunkTiles: the tiles of each chunk, except the one where the scan begins and the last
    i64 length, channels, groups, states, blocksPerGroup, batch, chunks, chunkTiles;
    i64 leadTiles, launch;  // leadTiles: the tiles of the chunk where the scan begins; launch: 0 for one launch of a single chunk, else 1 or 2
    i64 xRow, xToken, dtRow, dtToken, zRow, zToken, gradientRow, gradientToken;
    // wide: whether all activations have the type of the kernel and can be copied in pieces of `Piece` bytes
    int softplus, wide;
};
