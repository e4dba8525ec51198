namespace HybridArchitectures.Kernels;

/// <summary>Specifies the kernels of softmax attention. Numbers up to that of <see cref="Overrideable"/> are those of libtorch.</summary>
public enum AttentionKernel
{
    /// <summary>No kernel serves the call: libtorch would refuse it.</summary>
    None = -1,

    /// <summary>Plain operators that store all scores in memory.</summary>
    Math,

    /// <summary>FlashAttention (arXiv 2307.08691).</summary>
    Flash,

    /// <summary>The memory-efficient kernel (arXiv 2112.05682), which also supports masks and float32.</summary>
    Efficient,

    /// <summary>The kernel of cuDNN.</summary>
    CuDnn,

    /// <summary>A kernel of the library of another device.</summary>
    Overrideable,

    /// <summary>
    /// This library's CUDA kernel, for bfloat16 on compute capability 9.0. It skips keys that a window or a document boundary excludes.
    /// </summary>
    Cuda = 16,

    /// <summary>Plain operators, part by part. The scores of one part are stored in memory at a time, and computed again for gradients.</summary>
    Composed = 17,
}
