// What all kernels use: element types, vectors of 16 bytes, warp sums, and the approximate functions of the GPU. Each piece of PTX has a C++
// equivalent for the emulation on a CPU, which defines HYBRID_EMULATION. NVRTC compiles the kernels without any header of the toolkit. Offsets into
// tensors have 64 bits.
#pragma once

using i64 = long long;

struct bfloat16 { unsigned short bits; };

static_assert(sizeof(bfloat16) == 2 && sizeof(i64) == 8, "sizes that the host relies on");

// A kernel takes one structure of pointers and numbers, and the host has the same structure. KERNEL(name, threads, Arguments, body) makes `name` an
// entry point that runs body(arguments). KERNEL_OF also names the number of blocks that a multiprocessor must be able to hold, which limits the
// registers, and permits the body to take addresses of arguments. Every kernel lets the next one start early and waits for the previous one.
// KERNEL_EARLY leaves the waiting to its body.
#ifdef HYBRID_EMULATION
#define KERNEL(name, threads, Arguments, ...) \
    extern "C" void name(void** hybrid_arguments) { __VA_ARGS__(*static_cast<const Arguments*>(hybrid_arguments[0])); }
#define KERNEL_OF(name, threads, blocks, Arguments, ...) KERNEL(name, threads, Arguments, __VA_ARGS__)
#define KERNEL_EARLY(name, threads, Arguments, ...) KERNEL(name, threads, Arguments, __VA_ARGS__)
#else
#ifdef __clang__
#define GRID_CONSTANT
#else
#define GRID_CONSTANT __grid_constant__
#endif
#define KERNEL(name, threads, Arguments, ...) \
    extern "C" __global__ __launch_bounds__(threads) void name(const Arguments hybrid_arguments) { overlap(); __VA_ARGS__(hybrid_arguments); }
#define KERNEL_OF(name, threads, blocks, Arguments, ...) \
    extern "C" __global__ __launch_bounds__(threads, blocks) void name( \
        const GRID_CONSTANT Arguments hybrid_arguments) { overlap(); __VA_ARGS__(hybrid_arguments); }
#define KERNEL_EARLY(name, threads, Arguments, ...) \
    extern "C" __global__ __launch_bounds__(threads) void name(const Arguments hybrid_arguments) { let_next_start(); __VA_ARGS__(hybrid_arguments); }
#define DYNAMIC_SHARED(type, name) \
    extern __shared__ __align__(16) unsigned char hybrid_dynamic_shared[]; type* name = reinterpret_cast<type*>(hybrid_dynamic_shared)
#endif

// ---- launches that overlap (compute capability 9.0): blocks of the next kernel can start while this one runs, and wait before they access memory
// ----
// Before it waits, a kernel may only read memory that nothing has written since the last kernel that was launched without overlap. Every decoding
// step begins with such kernels of libtorch, so weights, lengths, old keys and values, and the states of the step before can be read early. A kernel
// that starts early does not see later writes to the same memory by the kernels between.

__device__ __forceinline__ void let_next_start() {
#if !defined(HYBRID_EMULATION) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" : : : "memory");
#endif
}

// Waits for the results of the previous kernels. It has no effect if the launch does not overlap.
__device__ __forceinline__ void wait_for_previous() {
#if !defined(HYBRID_EMULATION) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}

__device__ __forceinline__ void overlap() {
    let_next_start();
    wait_for_previous();
}

// ---- conversions: round to nearest even; NaN remains NaN ----

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

// Returns two neighbours in one word, `first` in the lower half.
__device__ __forceinline__ unsigned round_to_bfloat16_pair(float first, float second) {
#ifdef HYBRID_EMULATION
    return round_to_bfloat16(first) | static_cast<unsigned>(round_to_bfloat16(second)) << 16;
#else
    unsigned result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
    return result;
#endif
}

template <class T> __device__ __forceinline__ T from_float(float value);
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
template <> __device__ __forceinline__ bfloat16 from_float<bfloat16>(
    float value) { bfloat16 result; result.bits = round_to_bfloat16(value); return result; }

// ---- vectors: V neighbouring elements in one access of 4, 8 or 16 bytes (or of one element) ----

template <int Bytes> struct Word;
template <> struct Word<4> { unsigned words[1]; };
template <> struct alignas(8) Word<8> { unsigned words[2]; };
template <> struct alignas(16) Word<16> { unsigned words[4]; };
template <> struct alignas(16) Word<32> { unsigned words[8]; };  // two accesses

// The elements of one access, as they are stored in memory.
template <class T, int V> struct Raw {
    Word<static_cast<int>(V * sizeof(T))> bits;

    __device__ __forceinline__ float operator[](int i) const {
        if constexpr (sizeof(T) == 4) return as_float(bits.words[i]);
        else return as_float(i % 2 ? bits.words[i / 2] & 0xffff0000u : bits.words[i / 2] << 16);
    }
};
template <> struct Raw<bfloat16, 1> {
    bfloat16 value;
    __device__ __forceinline__ float operator[](int) const { return to_float(value); }
};

template <class T, int V> __device__ __forceinline__ Raw<T, V> load_raw(const void* base, i64 at) {
    return *reinterpret_cast<const Raw<T, V>*>(static_cast<const T*>(base) + at);
}

template <class T, int V> __device__ __forceinline__ void unpack(const Raw<T, V>& raw, float (&values)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) values[i] = raw[i];
}

template <class T, int V> __device__ __forceinline__ void load(
    const void* base, i64 at, float (&values)[V]) { unpack<T, V>(load_raw<T, V>(base, at), values); }

template <class T, int V> __device__ __forceinline__ Raw<T, V> pack(const float (&values)[V]) {
    Raw<T, V> raw;
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int i = 0; i < V; i++) raw.bits.words[i] = as_bits(values[i]);
    } else if constexpr (V == 1) raw.value = from_float<bfloat16>(values[0]);
    else {
#pragma unroll
        for (int i = 0; i < V / 2; i++) raw.bits.words[i] = round_to_bfloat16_pair(values[2 * i], values[2 * i + 1]);
    }
    return raw;
}

template <class T, int V> __device__ __forceinline__ void store(void* base, i64 at, const float (&values)[V]) {
    *reinterpret_cast<Raw<T, V>*>(static_cast<T*>(base) + at) = pack<T, V>(values);
}

// The same for data that are not read again soon.
template <class T, int V> __device__ __forceinline__ void store_stream(void* base, i64 at, const float (&values)[V]) {
#ifndef HYBRID_EMULATION
    if constexpr (V * sizeof(T) == 16) {
        const Raw<T, V> raw = pack<T, V>(values);
        asm volatile("st.global.cs.v4.u32 [%4], {%0, %1, %2, %3};" : : "r"(raw.bits.words[0]), "r"(raw.bits.words[1]), "r"(raw.bits.words[2]),
            "r"(raw.bits.words[3]),
            "l"(static_cast<T*>(base) + at) : "memory");
    } else if constexpr (V * sizeof(T) == 8) {
        const Raw<T, V> raw = pack<T, V>(values);
        asm volatile("st.global.cs.v2.u32 [%2], {%0, %1};" : : "r"(raw.bits.words[0]), "r"(raw.bits.words[1]),
            "l"(static_cast<T*>(base) + at) : "memory");
    } else
#endif
    store<T, V>(base, at, values);
}

template <class T> __device__ __forceinline__ float load_one(const void* base, i64 at) { return to_float(static_cast<const T*>(base)[at]); }
template <class T> __device__ __forceinline__ void store_one(void* base, i64 at, float value) { static_cast<T*>(base)[at] = from_float<T>(value); }

// ---- approximate functions of the GPU, with relative errors near 2^-22 ----

__device__ __forceinline__ float exp2_approximate(float x) {
#ifdef HYBRID_EMULATION
    return exp2f(x);
#else
    float result; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

// Computes 2^x by multiplications alone, for x up to 127, rounded. The relative error is at most 0.6 of a last place, 0.2 on average. The result is 0
// for x below -127.
__device__ __forceinline__ float exp2_polynomial(float x) {
    x = x > -127.f ? x : -127.f;
    // The addition rounds to the nearest integer; f is in [-1/2, 1/2].
    const float shifted = x + 12582912.f, f = x - (shifted - 12582912.f);
    float p = 1.54631634e-4f;
    p = p * f + 1.33908633e-3f;
    p = p * f + 9.61808302e-3f;
    p = p * f + 5.55035695e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147182e-1f;
    p = p * f + 1.f;
    return as_float(as_bits(p) + (as_bits(shifted) << 23));
}

// The absolute error is near 2^-22.
__device__ __forceinline__ float log2_approximate(float x) {
#ifdef HYBRID_EMULATION
    return log2f(x);
#else
    float result; asm("lg2.approx.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

__device__ __forceinline__ float fused_multiply_add(float x, float y, float z) {
#ifdef HYBRID_EMULATION
    return fmaf(x, y, z);
#else
    float result; asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(result) : "f"(x), "f"(y), "f"(z)); return result;
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

// In kernels whose results are float32 (E), functions are rounded, because errors add up along a sequence. For bfloat16, the error of the
// approximations is far below that of rounding.
template <class E> __device__ __forceinline__ float exp2_of(float x) {
    if constexpr (sizeof(E) == 4) return exp2_polynomial(x); else return exp2_approximate(x);
}

template <class E> __device__ __forceinline__ float quotient(float x, float y) {
    if constexpr (sizeof(E) == 4) return x / y; else return x * reciprocal(y);
}

// Returns e^x for x up to 88.
template <class E = bfloat16> __device__ __forceinline__ float exponential(float x) {
    if constexpr (sizeof(E) == 4) {
        const float whole = x * log2_e;
        // What rounding removed from the product, and from the constant log2_e.
        const float rest = x > -88.f ? fused_multiply_add(x, log2_e, -whole) + x * 1.92596299e-8f : 0.f, power = exp2_polynomial(whole);
        return power + power * (rest * 0.693147182f);
    } else return exp2_approximate(x * log2_e);
}

template <class E = bfloat16> __device__ __forceinline__ float sigmoid(float x) {
    // The exponential would overflow beyond 87.
    if constexpr (sizeof(E) == 4) return 1 / (1 + exponential<E>(x > -87.f ? -x : 87.f)); else return reciprocal(1 + exponential(-x));
}

// Returns the derivative of x sigmoid(x), where s is the sigmoid, with two operations.
__device__ __forceinline__ float silu_slope(float x, float s) { return x * (s - s * s) + s; }

// Computes log(1 + e^x) without loss of precision: max(x, 0) + log1p(e^-|x|), with the series of the logarithm in e / (2 + e), which is at most 1/3.
template <class E = bfloat16> __device__ __forceinline__ float softplus(float x) {
    float magnitude = x < 0 ? -x : x, e = exponential<E>(-magnitude), s = quotient<E>(e, 2 + e), q = s * s;
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

// Waits for all lanes of the warp and for their writes to shared memory.
__device__ __forceinline__ void sync_warp() {
#ifdef HYBRID_EMULATION
    __syncwarp();
#else
    asm volatile("bar.warp.sync 0xffffffff;" : : : "memory");
#endif
}

__device__ __forceinline__ float square_root(float x) {
#ifdef HYBRID_EMULATION
    return sqrtf(x);
#else
    float result; asm("sqrt.rn.f32 %0, %1;" : "=f"(result) : "f"(x)); return result;
#endif
}

__device__ __forceinline__ double square_root(double x) {
#ifdef HYBRID_EMULATION
    return sqrt(x);
#else
    double result; asm("sqrt.rn.f64 %0, %1;" : "=d"(result) : "d"(x)); return result;
#endif
}

__device__ __forceinline__ float from_lane_xor(float value, int offset) {
#ifdef HYBRID_EMULATION
    return __shfl_xor_sync(0xffffffffu, value, offset);
#else
    float result;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(result) : "f"(value), "r"(offset));
    return result;
#endif
}

__device__ __forceinline__ double from_lane_xor(double value, int offset) {
#ifdef HYBRID_EMULATION
    return __shfl_xor_sync(0xffffffffu, value, offset);
#else
    int low, high;
    asm("mov.b64 {%0, %1}, %2;" : "=r"(low), "=r"(high) : "d"(value));
    asm volatile("shfl.sync.bfly.b32 %0, %0, %1, 0x1f, 0xffffffff;" : "+r"(low) : "r"(offset));
    asm volatile("shfl.sync.bfly.b32 %0, %0, %1, 0x1f, 0xffffffff;" : "+r"(high) : "r"(offset));
    asm("mov.b64 %0, {%1, %2};" : "=d"(value) : "r"(low), "r"(high));
    return value;
#endif
}

// Sums over groups of `lanes` neighbouring lanes (a power of two). Every lane receives the sum, which is added in a fixed order.
template <class T> __device__ __forceinline__ T lane_sum(T value, int lanes) {
    for (int offset = lanes / 2; offset > 0; offset /= 2) value += from_lane_xor(value, offset);
    return value;
}

// Sums V values over the lanes whose numbers differ in the bits First, First / 2 ... Last, and distributes the sums over those lanes: each step
// halves the number of values of a lane. Afterwards, values[0 .. V / lanes) are the sums from index `scattered` on. If there are more lanes than
// values, some lanes have the same one.
template <int V, int First, int Last, int Whole, class T> __device__ __forceinline__ void reduce_scatter(T (&values)[Whole], int lane) {
    if constexpr (First >= Last) {
        if constexpr (V > 1) {
            const bool upper = lane & First;
#pragma unroll
            for (int i = 0; i < V / 2; i++) {
                const T low = values[i], high = values[V / 2 + i];  // both are read, so that no index is known only at run time
                values[i] = (upper ? high : low) + from_lane_xor(upper ? low : high, First);
            }
            reduce_scatter<V / 2, First / 2, Last>(values, lane);
        } else {
            values[0] += from_lane_xor(values[0], First);
            reduce_scatter<1, First / 2, Last>(values, lane);
        }
    }
}

// Sums over a block of 256 threads. `scratch` has 8 floats and can be used again immediately.
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

// Loads V numbers per channel, or `otherwise`, in pieces of 16 bytes if the columns permit it.
template <int V> __device__ __forceinline__ void channels_of(const float* from, i64 at, float otherwise, float (&values)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) values[i] = otherwise;
    if (!from) return;
    if constexpr (V % 4 == 0)
#pragma unroll
        for (int i = 0; i < V; i += 4) {
            const Raw<float, 4> four = load_raw<float, 4>(from, at + i);
#pragma unroll
            for (int j = 0; j < 4; j++) values[i + j] = four[j];
        }
    else
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = from[at + i];
}

// ---- copies from global to shared memory that continue while the thread works; `there` false writes zeros ----

template <int Bytes> __device__ __forceinline__ void copy_async(void* shared, const void* global, bool there) {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "what the instruction takes");
#ifdef HYBRID_EMULATION
    emulation::copy_later(shared, global, Bytes, there);
#else
    unsigned to;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(to) : "l"(shared));
    const int bytes = there ? Bytes : 0;
    if constexpr (Bytes == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(global), "r"(bytes) : "memory");
    else asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" : : "r"(to), "l"(global), "r"(bytes), "n"(Bytes) : "memory");
#endif
}

// The same for 16 bytes that are read once: of the second-level cache, they leave first.
__device__ __forceinline__ void copy_async_once(void* shared, const void* global, bool there) {
#ifdef HYBRID_EMULATION
    emulation::copy_later(shared, global, 16, there);
#else
    unsigned to;
    i64 policy;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(to) : "l"(shared));
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" : : "r"(to), "l"(global), "r"(there ? 16 : 0), "l"(policy)
        : "memory");
#endif
}

__device__ __forceinline__ void copy_commit() {
#ifdef HYBRID_EMULATION
    emulation::copy_commit();
#else
    asm volatile("cp.async.commit_group;" : : : "memory");
#endif
}

// Waits until all but the newest `Pending` committed groups of this thread have arrived.
template <int Pending> __device__ __forceinline__ void copy_wait() {
#ifdef HYBRID_EMULATION
    emulation::copy_wait(Pending);
#else
    asm volatile("cp.async.wait_group %0;" : : "n"(Pending) : "memory");
#endif
}

// ---- elements of a type that is known at run time; all threads take the same branch ----

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
