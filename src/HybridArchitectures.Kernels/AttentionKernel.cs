namespace HybridArchitectures.Kernels;

/// <summary>libtorch's kernels of softmax attention; the numbers are its own.</summary>
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
}
