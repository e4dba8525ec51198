using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Describes the launch of a kernel of single warps for gradients of attention.</summary>
/// <param name="Variant">The source and its options.</param>
/// <param name="Rows">The number of keys of a block, or of queries for their gradients.</param>
/// <param name="Tile">The number of rows of the other tensors that a block processes at a time.</param>
/// <param name="Threads">The number of threads of a block.</param>
/// <param name="SharedMemory">The bytes of shared memory of a block.</param>
readonly record struct AttentionGradientKernel(KernelVariant Variant, int Rows, int Tile, int Threads, int SharedMemory)
{
    /// <summary>Returns the number of blocks of <paramref name="tokens"/> keys or queries.</summary>
    public long Blocks(long tokens) => (tokens + Rows - 1) / Rows;
}
