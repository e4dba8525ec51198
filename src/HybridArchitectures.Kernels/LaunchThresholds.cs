namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the sizes and GPUs at which launch configurations change. Tests lower them, so that small inputs take every path.
/// </summary>
sealed record LaunchThresholds
{
    /// <summary>
    /// Gets or sets the compute capability of GPUs on which four warps together multiply in attention (wgmma), for example 90 for 9.0. On others,
    /// single warps multiply. The default is 90. A GPU of compute capability 9.0 also runs the kernels of the others if this is 0.
    /// </summary>
    public int AttentionGroupCapability { get; init; } = 90;

    /// <summary>
    /// Gets or sets the maximum number of bytes of shared memory of a block of the attention kernels of single warps. A GPU with more then runs what
    /// one with less would run: 166,912 is that of compute capability 8.0, and 101,376 that of 8.6, 8.9 and 12.x. The default is no limit beyond that
    /// of the GPU.
    /// </summary>
    public int AttentionSharedMemory { get; init; } = int.MaxValue;

    /// <summary>
    /// Gets or sets the maximum head size for which kernels of this library compute plain causal attention whose gradients are recorded: without a
    /// window, documents, a soft cap or sink logits, and with as many queries as keys. For larger heads, libtorch computes it, because it is
    /// faster on an H200. All other attention would need a dense mask in libtorch, so that kernels of this library compute it for all head sizes that
    /// they support. The default is 128.
    /// </summary>
    public long MaxPlainAttentionGradientSize { get; init; } = 128;

    /// <summary>
    /// Gets or sets the number of warps that a GPU with a hundred multiprocessors can hold. With fewer warps, the selective scan divides rows into
    /// chunks. The default is 1024.
    /// </summary>
    public long ScanWarps { get; init; } = 1024;

    /// <summary>Gets or sets the minimum number of tiles in a chunk of the selective scan. The default is 8.</summary>
    public long MinScanTilesPerChunk { get; init; } = 8;

    /// <summary>
    /// Gets or sets the number of warps up to which the forward selective scan processes whole rows, in more warps with fewer states per lane. The
    /// default is 768.
    /// </summary>
    public long MaxScanWarpsForWholeRows { get; init; } = 768;

    /// <summary>
    /// Gets or sets the minimum number of logits in a chunk of linear cross entropy: fewer would not fill a GPU. The default is 2^24.
    /// </summary>
    public long MinLogits { get; init; } = 16 << 20;
}
