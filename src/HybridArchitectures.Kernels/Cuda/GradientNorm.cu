// The norm of many gradients together: sums of squares of pieces, then the root of their sum.
//
// In `squares_many`, a block adds up the squares of 16,384 elements of one gradient, in double precision, which no finite float32 gradient overflows.
// The table of the gradients is in the arguments of the kernel. `norm_of_squares` is one block, which adds up the sums of the blocks. All sums are
// added in a fixed order, which is the same for both types of gradients: the norm of a bfloat16 gradient has the bits of that of its float32 copy.
//
// Reads 4 bytes per float32 element and 2 per bfloat16 element. Limit for 1.236e9 float32 elements on one H200: 1.2 ms.
#include "many_tensors.cuh"

#define NORM_TENSORS 128                               // the host has the same numbers
#define NORM_PER_BLOCK 16384

struct NormTensor {
    const void* gradient;
    i64 count;                                         // elements
    int endBlock, isBFloat16;                          // the number of blocks of this and all gradients of the launch before it; the type
};

struct SquaresArguments {
    NormTensor tensors[NORM_TENSORS];
    double* sums;                                      // one per block
    i64 tensorCount;
};

struct RootArguments {
    const double* sums;
    float* norm;
    i64 count;
};

// Sums over a block of 256 threads, in all threads.
__device__ __forceinline__ double sum_of_block(double value) {
    DYNAMIC_SHARED(double, warps);
    value = lane_sum(value, 32);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0;
#pragma unroll
    for (int warp = 0; warp < 8; warp++) total += warps[warp];
    return total;
}

// The sum of the squares of one thread in the elements from `begin`.
template <class T> __device__ __forceinline__ double squares_of_thread(const NormTensor& tensor, i64 begin) {
    const i64 whole = tensor.count / 4 * 4, end = begin + NORM_PER_BLOCK;
    constexpr int Ahead = 16 / sizeof(T);              // vectors of 4 elements, read at once
    double sum = 0;
    for (i64 pass = begin + 4 * threadIdx.x; pass < (end < whole ? end : whole); pass += Ahead * 4 * 256) {
        Raw<T, 4> some[Ahead];
#pragma unroll
        for (int k = 0; k < Ahead; k++)
            if (pass + k * 4 * 256 < whole) some[k] = load_raw<T, 4>(tensor.gradient, pass + k * 4 * 256);
#pragma unroll
        for (int k = 0; k < Ahead; k++)
#pragma unroll
            for (int v = 0; v < 4; v++)
                if (pass + k * 4 * 256 < whole) sum += static_cast<double>(some[k][v]) * some[k][v];
    }
    const i64 rest = whole + threadIdx.x;
    if (rest < tensor.count && rest >= begin && rest < end) {
        const double last = load_one<T>(tensor.gradient, rest);
        sum += last * last;
    }
    return sum;
}

__device__ __forceinline__ void squares_many_(const SquaresArguments& args) {
    i64 begin;
    const NormTensor& tensor = tensor_of_block<NORM_PER_BLOCK>(args.tensors, args.tensorCount, begin);
    double sum = tensor.isBFloat16 ? squares_of_thread<bfloat16>(tensor, begin) : squares_of_thread<float>(tensor, begin);
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) args.sums[blockIdx.x] = sum;
}

__device__ __forceinline__ void norm_of_squares_(const RootArguments& args) {
    double sum = 0;
    for (i64 i = threadIdx.x; i < args.count; i += 256) sum += args.sums[i];
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) *args.norm = static_cast<float>(square_root(sum));
}

KERNEL_OF(squares_many, 256, 4, SquaresArguments, squares_many_)
KERNEL(norm_of_squares, 256, RootArguments, norm_of_squares_)
