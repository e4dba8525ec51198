// Sums of partial gradients: several tensors in one launch, each added up over its parts in a fixed order and written in its own type.
//
// A thread has four neighbouring numbers. If there are many parts, `slices` threads of a block share them, and their sums, in double precision, are
// joined in shared memory. With one thread each, a few thousand numbers in hundreds of parts would wait for one read after another and accumulate as
// many rounding errors. Every part is read once: 4 bytes and one addition per number.
#include "common.cuh"

struct PartialSum {
    const float* from;                               // (parts, count)
    TypedOutput to;                                  // (count)
    i64 count, parts;
    int slices;                                      // 1, 2, 4 ... 64
};
struct PartialSums { PartialSum sums[5]; };

// The tensor of this block, by values: a choice between structures would put them all into local memory.
template <class T> __device__ __forceinline__ T of_block(T first, T second, T third, T fourth, T fifth) {
    return blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : blockIdx.y == 2 ? third : blockIdx.y == 3 ? fourth : fifth;
}
#define OF_BLOCK(field) of_block(all.sums[0].field, all.sums[1].field, all.sums[2].field, all.sums[3].field, all.sums[4].field)

// S: the type of the sums
template <class S> __device__ __forceinline__ void add_up(const float* from, const TypedOutput& to, i64 count, i64 parts, int slices) {
    DYNAMIC_SHARED(S, shared);                       // the four sums of each thread
    const int threads = 256 / slices, slice = threadIdx.x / threads, thread = threadIdx.x % threads;
    const i64 at = (static_cast<i64>(blockIdx.x) * threads + thread) * 4;
    S sum[4] = {0, 0, 0, 0};
    if (at < count && count % 4 == 0) {
        constexpr int Ahead = 8;
        for (i64 begin = slice; begin < parts; begin += Ahead * slices) {
            Raw<float, 4> some[Ahead];               // read at once
#pragma unroll
            for (int i = 0; i < Ahead; i++)
                if (begin + i * slices < parts) some[i] = load_raw<float, 4>(from, (begin + i * slices) * count + at);
#pragma unroll
            for (int i = 0; i < Ahead; i++)
#pragma unroll
                for (int v = 0; v < 4; v++)
                    if (begin + i * slices < parts) sum[v] += some[i][v];
        }
    } else
#pragma unroll
        for (int v = 0; v < 4; v++)
            if (at + v < count)
                for (i64 part = slice; part < parts; part += slices) sum[v] += from[part * count + at + v];
    if (slices > 1) {
#pragma unroll
        for (int v = 0; v < 4; v++) shared[v * 256 + threadIdx.x] = sum[v];
        __syncthreads();
        if (slice) return;
        for (int other = 1; other < slices; other++)
#pragma unroll
            for (int v = 0; v < 4; v++) sum[v] += shared[v * 256 + other * threads + thread];
    }
    if (at >= count) return;
    float results[4];
#pragma unroll
    for (int v = 0; v < 4; v++) results[v] = static_cast<float>(sum[v]);
    if (count % 4 == 0) {
        if (to.bfloat16) store<bfloat16, 4>(to.base, at, results); else store<float, 4>(to.base, at, results);
    } else
#pragma unroll
        for (int v = 0; v < 4; v++)
            if (at + v < count) to.set(at + v, results[v]);
}

__device__ __forceinline__ void partial_sums(const PartialSums& all) {
    TypedOutput to;
    to.base = OF_BLOCK(to.base);
    to.bfloat16 = OF_BLOCK(to.bfloat16);
    const i64 count = OF_BLOCK(count), parts = OF_BLOCK(parts);
    const int slices = OF_BLOCK(slices);
    if (!count) return;  // no sum is requested
    if (slices > 1) add_up<double>(OF_BLOCK(from), to, count, parts, slices);
    else add_up<float>(OF_BLOCK(from), to, count, parts, 1);
}

KERNEL(partial_sums_up, 256, PartialSums, partial_sums)
