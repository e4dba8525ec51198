// What clang lacks to turn the kernel sources into PTX without a CUDA toolkit.
#pragma once
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __align__(n) __attribute__((aligned(n)))
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct Index3 { unsigned x, y, z; };
#define threadIdx (Index3{static_cast<unsigned>(__nvvm_read_ptx_sreg_tid_x()), static_cast<unsigned>(__nvvm_read_ptx_sreg_tid_y()), static_cast<unsigned>(__nvvm_read_ptx_sreg_tid_z())})
#define blockIdx (Index3{static_cast<unsigned>(__nvvm_read_ptx_sreg_ctaid_x()), static_cast<unsigned>(__nvvm_read_ptx_sreg_ctaid_y()), static_cast<unsigned>(__nvvm_read_ptx_sreg_ctaid_z())})
#define blockDim (Index3{static_cast<unsigned>(__nvvm_read_ptx_sreg_ntid_x()), static_cast<unsigned>(__nvvm_read_ptx_sreg_ntid_y()), static_cast<unsigned>(__nvvm_read_ptx_sreg_ntid_z())})
#define gridDim (Index3{static_cast<unsigned>(__nvvm_read_ptx_sreg_nctaid_x()), static_cast<unsigned>(__nvvm_read_ptx_sreg_nctaid_y()), static_cast<unsigned>(__nvvm_read_ptx_sreg_nctaid_z())})
