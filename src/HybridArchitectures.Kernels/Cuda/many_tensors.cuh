// Launches over many tensors, whose table is in the arguments of the kernel.
#pragma once
#include "common.cuh"

// Returns the tensor of this block, and where in it the block begins. A tensor has the number of blocks of this and all tensors before it (endBlock),
// with PerBlock elements each.
template <int PerBlock, int Capacity, class Tensor> __device__ __forceinline__ const Tensor& tensor_of_block(
    const Tensor (&tensors)[Capacity], i64 count, i64& begin) {
    int index = 0;                                     // of the first tensor whose last block is not before this one
#pragma unroll
    for (int stride = Capacity / 2; stride > 0; stride /= 2)
        if (index + stride < count && tensors[index + stride - 1].endBlock <= static_cast<int>(blockIdx.x)) index += stride;
    begin = (static_cast<i64>(blockIdx.x) - (index > 0 ? tensors[index - 1].endBlock : 0)) * PerBlock;
    return tensors[index];
}
