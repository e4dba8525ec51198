namespace HybridArchitectures.Kernels;

/// <summary>The kernels of softmax attention. Numbers up to that of <see cref="Overrideable"/> are libtorch's.</summary>
public enum AttentionKernel
{
    /// <summary>None that serves the call: libtorch would refuse it.</summary>
    None = -1,

    /// <summary>Plain operators that hold all scores in memory.</summary>
    Math,

    /// <summary>FlashAttention (arXiv 2307.08691).</summary>
    Flash,

    /// <summary>The memory-efficient kernel (arXiv 2112.05682), which also takes masks and float32.</summary>
    Efficient,

    /// <summary>cuDNN's.</summary>
    CuDnn,

    /// <summary>A kernel of another device's library.</summary>
    Overrideable,

    /// <summary>This library's own CUDA kernel, for bfloat16 on compute capability 9.0. It skips keys that a window or a document boundary excludes.</summary>
    Cuda = 16,
}
