namespace HybridArchitectures.Kernels;

/// <summary>Specifies the kernels of softmax attention. Numbers up to that of <see cref="Overrideable"/> are those of libtorch.</summary>
public enum AttentionKernel
{
    /// <summary>No kernel serves the call: libtorch would refuse it.</summary>
    None = -1,

    /// <summary>Uses plain operators that store all scores in memory.</summary>
    Math,

    /// <summary>Uses FlashAttention (arXiv 2307.08691).</summary>
    Flash,

    /// <summary>The memory-efficient kernel (arXiv 2112.05682), which also supports masks and float32.</summary>
    Efficient,

    /// <summary>Uses the kernel of cuDNN.</summary>
    CuDnn,

    /// <summary>Uses a kernel of the library of another device.</summary>
    Overrideable,

    /// <summary>
    /// Uses this library's CUDA kernels, for bfloat16 on compute capability 8.x, 9.0 and 12.x. They skip keys that a window or a document boundary
    /// excludes.
    /// </summary>
    Cuda = 16,

    /// <summary>
    /// Uses plain operators, part by part. The scores of one part are stored in memory at a time, and computed again for gradients.
    /// </summary>
    Composed = 17,
}
