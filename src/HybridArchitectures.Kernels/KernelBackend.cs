namespace HybridArchitectures.Kernels;

/// <summary>Specifies the back end of an operator.</summary>
public enum KernelBackend
{
    /// <summary>The fastest back end that supports the given tensors. <c>BackendFor</c> of the operator returns it.</summary>
    Auto,

    /// <summary>
    /// Uses the short, sequential form over libtorch operators. It supports every device and also float64, and is slow. The tests compare with it.
    /// </summary>
    Reference,

    /// <summary>Uses vectorized code on all cores, for float32 and bfloat16 on the CPU.</summary>
    Cpu,

    /// <summary>
    /// Uses libtorch's operators, fused if possible, with limited memory, for any device and floating-point dtype. Attention, linear cross entropy
    /// and the state-space dual support it.
    /// </summary>
    LibTorch,

    /// <summary>
    /// This library's CUDA kernels, compiled for the GPU on first use: float32 and bfloat16 on compute capability 8.0 and later.
    /// </summary>
    Cuda,
}
