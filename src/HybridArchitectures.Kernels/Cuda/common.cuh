// What every kernel here uses: element types, vectors of 16 bytes, warp sums, and the card's approximate functions.
// Each piece of PTX stands beside a plain C++ twin for the emulation on a CPU, which defines HYBRID_EMULATION.
// Compiled by NVRTC without any header of the toolkit. Offsets into tensors are 64-bit throughout.
#pragma once

using i64 = long long;

struct bfloat16 { unsigned short bits; };

static_assert(sizeof(bfloat16) == 2 && sizeof(i64) == 8, "sizes that the host relies on");

// A kernel takes one structure of pointers and numbers; the host has the same structure.
// KERNEL(name, threads, Arguments, body) makes `name` an entry point that runs body(arguments).
#ifdef HYBRID_EMULATION
#define KERNEL(name, threads, Arguments, ...) \
    extern "C" void name(void** hybrid_arguments) { __VA_ARGS__(*static_cast<const Arguments*>(hybrid_arguments[0])); }
#else
#define KERNEL(name, threads, Arguments, ...) \
    extern "C" __global__ __launch_bounds__(threads) void name(const Arguments hybrid_arguments) { __VA_ARGS__(hybrid_arguments); }
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) unsigned char hybrid_dynamic_shared[]; type* name = reinterpret_cast<type*>(hybrid_dynamic_shared)
#endif

// ---- conversions: round to nearest even, NaN stays NaN ----

__device__ __forceinline__ float as_float(unsigned bits) {
    union { unsigned u; float f; } pun; pun.u = bits; return pun.f;
}

__device__ __forceinline__ unsigned as_bits(float value) {
    union { float f; unsigned u; } pun; pun.f = value; return pun.u;
}

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bfloat16 value) { return as_float(static_cast<unsigned>(value.bits) << 16); }

__device__ __forceinline__ unsigned short round_to_bfloat16(float value) {
#ifdef HYBRID_EMULATION
    unsigned bits = as_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#else
    unsigned short result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
    return result;
#endif
}

template <class T> __device__ __forceinline__ T from_float(float value);
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
template <> __device__ __forceinline__ bfloat16 from_float<bfloat16>(float value) { bfloat16 result; result.bits = round_to_bfloat16(value); return result; }

// ---- vectors: V neighbouring elements, either one or 16 bytes of them in one access ----

template <class T, int V> __device__ __forceinline__ void load(const void* base, i64 at, float (&values)[V]) {
    static_assert(V == 1 || V * sizeof(T) == 16, "one element or 16 bytes");
    const T* from = static_cast<const T*>(base) + at;
    if constexpr (V == 1) values[0] = to_float(*from);
    else {
        const uint4 bits = *reinterpret_cast<const uint4*>(from);
        const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int i = 0; i < V; i++)
            values[i] = sizeof(T) == 4 ? as_float(words[i % 4]) : as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
    }
}

template <class T, int V> __device__ __forceinline__ void store(void* base, i64 at, const float (&values)[V]) {
    static_assert(V == 1 || V * sizeof(T) == 16, "one element or 16 bytes");
    T* to = static_cast<T*>(base) + at;
    if constexpr (V == 1) *to = from_float<T>(values[0]);
    else {
        unsigned words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if constexpr (sizeof(T) == 4) words[i] = as_bits(values[i]);
            else words[i] = round_to_bfloat16(values[2 * i]) | static_cast<unsigned>(round_to_bfloat16(values[2 * i + 1])) << 16;
        }
        *reinterpret_cast<uint4*>(to) = uint4{words[0], words[1], words[2], words[3]};
    }
}

template <class T> __device__ __forceinline__ float load_one(const void* base, i64 at) { return to_float(static_cast<const T*>(base)[at]); }
template <class T> __device__ __forceinline__ void store_one(void* base, i64 at, float value) { static_cast<T*>(base)[at] = from_float<T>(value); }

// ---- the card's approximate functions, relative errors near 2^-22 ----

__device__ __forceinline__ float exp2_approximate(float x) {
#ifdef HYBRID_EMULATION
    return exp2f(x);
#else
    float result; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

__device__ __forceinline__ float reciprocal(float x) {
#ifdef HYBRID_EMULATION
    return 1 / x;
#else
    float result; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

__device__ __forceinline__ float reciprocal_root(float x) {
#ifdef HYBRID_EMULATION
    return 1 / sqrtf(x);
#else
    float result; asm("rsqrt.approx.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

constexpr float log2_e = 1.4426950408889634f;

__device__ __forceinline__ float exponential(float x) { return exp2_approximate(x * log2_e); }
__device__ __forceinline__ float sigmoid(float x) { return reciprocal(1 + exponential(-x)); }

// d/dx of x sigmoid(x)
__device__ __forceinline__ float silu_slope(float x, float s) { return s * (1 + x * (1 - s)); }

// log(1 + e^x) without loss at either end: max(x, 0) + log1p(e^-|x|), the logarithm by its series in e / (2 + e), which is at most 1/3
__device__ __forceinline__ float softplus(float x) {
    float magnitude = x < 0 ? -x : x, e = exponential(-magnitude), s = e * reciprocal(2 + e), q = s * s;
    float series = 1.f / 13;
    series = series * q + 1.f / 11;
    series = series * q + 1.f / 9;
    series = series * q + 1.f / 7;
    series = series * q + 1.f / 5;
    series = series * q + 1.f / 3;
    series = series * q + 1;
    return (x > 0 ? x : x != x ? x : 0) + 2 * s * series;
}

// ---- sums over lanes ----

__device__ __forceinline__ float from_lane_xor(float value, int offset) {
#ifdef HYBRID_EMULATION
    return __shfl_xor_sync(0xffffffffu, value, offset);
#else
    float result;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(result) : "f"(value), "r"(offset));
    return result;
#endif
}

// over groups of `lanes` neighbouring lanes (a power of two); every lane has the sum, added in one fixed order
__device__ __forceinline__ float lane_sum(float value, int lanes) {
    for (int offset = lanes / 2; offset > 0; offset /= 2) value += from_lane_xor(value, offset);
    return value;
}

// over a block of 256 threads; `scratch` has 8 floats and may be used again at once
__device__ __forceinline__ float block_sum(float value, float* scratch) {
    value = lane_sum(value, 32);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < 8; warp++) total += scratch[warp];
    __syncthreads();
    return total;
}

// ---- elements of a type known at run time: every thread takes the same branch ----

struct Typed {
    const void* base;
    i64 bfloat16;                                    // 1 or 0 (float32)

    __device__ __forceinline__ float operator[](i64 at) const { return bfloat16 ? load_one<::bfloat16>(base, at) : load_one<float>(base, at); }
};

struct TypedOutput {
    void* base;
    i64 bfloat16;

    __device__ __forceinline__ void set(i64 at, float value) const {
        if (bfloat16) store_one<::bfloat16>(base, at, value); else store_one<float>(base, at, value);
    }
};
