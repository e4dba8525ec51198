// What the kernels of the selective scan share: their arguments, the softplus, and stores without a branch.
#pragma once
#include "common.cuh"

// the host says whether there are a gate, a softplus and documents, so that no branch divides what is to be done at once
#ifndef SCAN_GATED
#define SCAN_GATED (a.gate.base != nullptr)
#endif
#ifndef SCAN_SOFTPLUS
#define SCAN_SOFTPLUS (a.softplus != 0)
#endif
#ifndef SCAN_DOCUMENTS
#define SCAN_DOCUMENTS (a.starts != nullptr)
#endif

// without a branch
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

// log(1 + e^x) to 2^-23, by one special function: with e = e^-|x| in [0, 1] it is max(x, 0) + e p(e)
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

// What the exponent of every decay gets where 2^x is the GPU's, which is low: on an H100, averages over octaves, by 5e-9 to 9e-9 of it for x from
// -2^-9 to -2^-19, by 1.6e-8 to
// 2.7e-8 from -1 to -2^-8. A state that lasts is multiplied by it hundreds of times; this gives back what those lose that last longest. It costs
// nothing, as an immediate of a multiply-add. A step of 0 still leaves a state as it is: the GPU's 2^x is 1 for |x| below 2^-23.
constexpr float decay_raise = 9e-9f;

struct ScanArguments {
    Typed x, timeStep, gate, b, c, gradient;         // (batch, length, channels) by strides; b, c (batch, length, groups, states) without gaps
    // (channels, states), (channels) twice, (batch, channels, states) twice; all but a may be null
    const float *a, *skip, *bias, *initial, *finalGradient;
    const bool* starts;                              // (batch, length), or null
    const i64* lengths;                              // (batch), or null
    TypedOutput output, dX, dTimeStep, dGate;        // without gaps
    // (batch, channels, states), (batch, tiles, warps of a row, a warp's states as its threads hold them) or null
    float *final, *saved;
    // (batch, chunks, channels, states), (blocks of a group, batch, length, groups, states) twice, (batch, chunks, channels) twice, like final
    float *dA, *dB, *dC, *dSkip, *dBias, *dInitial;
    // (batch, chunks, channels, states), (batch, chunks, channels), where a row is cut into chunks; else null
    float *chunkStates, *chunkSteps;
    // chunkTiles: of each but the one where the walk begins (and but what the end cuts off)
    i64 length, channels, groups, states, blocksPerGroup, batch, chunks, chunkTiles;
    i64 leadTiles, launch;                           // of that one; 0 where there is one launch for a single chunk, else 1 or 2
    i64 xRow, xToken, stepRow, stepToken, gateRow, gateToken, gradientRow, gradientToken;
    // wide: every tensor of activations has the kernel's type and can be copied in pieces of `Piece` bytes
    int softplus, wide;
};
