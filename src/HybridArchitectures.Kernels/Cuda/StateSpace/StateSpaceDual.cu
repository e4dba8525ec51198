// The state-space dual of Mamba-2: S[t] = exp(dt[t] A) S[t-1] + dt[t] x[t] B[t]^T, y[t] = S[t] C[t] + D x[t], and its gradients, on tensor cores.
//
// Tokens are divided into chunks of Q. Let sum[t] be the sum of dt A log2(e) from the start of the chunk to token t, and S the state before the
// chunk. Then
//   y[i] = 2^sum[i] S C[i] + sum over j <= i of 2^(sum[i] - sum[j]) dt[j] (C[i].B[j]) x[j] + D x[i],
//   S' = 2^sum[Q-1] S + sum over j of 2^(sum[Q-1] - sum[j]) dt[j] x[j] B[j]^T.
// No exponent is above 0.
//
// Kernels
// - steps (StateSpaceDualSteps.cuh) computes dt and the sums. One block processes one chunk of 32 heads.
// - chunk_scan (StateSpaceDualChunkScan.cuh) computes the output and the last state. A block owns up to 128 channels of one row (2 heads of 64 or 1
//   of 128) and processes the chunks in order. The state stays in registers as float32 sums and is rounded in place when it is an operand. One
//   product C B^T of the chunk serves all heads of the block. The tokens of the next chunk are copied at the same time. The gradient of x is the
//   same scan from the end, with dy as x, C as B and B as C. (mamba_ssm has separate kernels for the states, their passing and the output.)
// - combine (StateSpaceDualSteps.cuh): if there are too few rows and heads for the GPU, rows are divided into segments. One scan computes the state
//   that each segment adds, combine computes the state before each segment, and the main scan starts from it.
// - pairs (StateSpaceDualPairs.cuh) computes the gradients of B, C and the time steps. A block owns one chunk of one group and processes the heads in
//   turn: dy x^T, dy S and x dS, where S and dS are the states that the scans in both directions stored for each chunk. The gradients of B and C stay
//   in registers over all heads.
// - step_gradients (StateSpaceDualSteps.cuh) computes the gradients of the raw time steps, A and the bias from the results of pairs.
// In these files, single warps multiply (mma.sync), for every size and GPU. In StateSpaceDualGroupChunkScan.cuh and StateSpaceDualGroupPairs.cuh,
// four warps multiply together (wgmma): for bfloat16, P a multiple of 64 and N of 64 or 128, on compute capability 9.0.
//
// Float32 is split into three bfloat16 planes, and the six products that matter are summed, which is about as exact as float32. Every sum has a fixed
// order.
//
// Bytes and operations for B8 L8192 H64 P64 N128 in bfloat16: forward moves x and y, 1.07 GB, 0.25 ms at 4.3 TB/s, and computes 3.7 MFLOP per chunk
// and head, 0.24 TFLOP, 0.31 ms at 790 TFLOP/s. Backward moves x, dy twice, dx, S (read) and dS (written and read; 16 KB per chunk and head each),
// 5.4 GB, 1.25 ms, and computes 0.38 TFLOP, 0.48 ms. Measured on one H100 (3.0 TB/s): forward 0.50 ms; forward and backward with saved chunk states
// 2.94 ms as a sum of kernels. The effect of each improvement is in lab/kernels-log.md.
#include "StateSpaceDualPairs.cuh"
#include "StateSpaceDualSteps.cuh"
#if SSD_GROUPS
#include "StateSpaceDualGroupPairs.cuh"
#endif

__device__ __forceinline__ void pairs(const DualArguments& args) {
#if SSD_GROUPS
    GroupPairs(args).run();
#else
    Pairs(args).run();
#endif
}
template <bool Reverse, bool Output> __device__ __forceinline__ void scan(const DualArguments& args) {
#if SSD_GROUPS
    GroupChunkScan<Reverse, Output>(args).run();
#else
    ChunkScan<Reverse, Output>(args).run();
#endif
}

#if SSD_PART != 2
KERNEL(dual_steps, 256, DualArguments, steps)
KERNEL(dual_combine, 256, DualArguments, combine<false>)
KERNEL_OF(dual_states, ScanThreads, SSD_BLOCKS, DualArguments, scan<false, false>)
KERNEL_OF(dual_chunk_scan, ScanThreads, SSD_BLOCKS, DualArguments, scan<false, true>)
#endif
#if SSD_PART != 1
KERNEL(dual_step_gradients, 256, DualArguments, step_gradients)
KERNEL(dual_combine_back, 256, DualArguments, combine<true>)
KERNEL_OF(dual_states_back, ScanThreads, SSD_BLOCKS, DualArguments, scan<true, false>)
KERNEL_OF(dual_chunk_scan_back, ScanThreads, SSD_BLOCKS, DualArguments, scan<true, true>)
#if SSD_GROUPS
KERNEL_OF(dual_pairs, PairThreads, 1, DualArguments, pairs)
#else
KERNEL(dual_pairs, PairThreads, DualArguments, pairs)
#endif
#endif
