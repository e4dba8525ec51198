using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels;

/// <summary>Specifies the back end of an operator.</summary>
public enum KernelBackend
{
    /// <summary>The fastest back end that supports the given tensors. <c>BackendFor</c> of the operator returns it.</summary>
    Auto,

    /// <summary>The short, sequential form over libtorch operators: any device, also float64, slow. The tests compare with it.</summary>
    Reference,

    /// <summary>Vectorized code on all cores, for float32 and bfloat16 on the CPU.</summary>
    Cpu,

    /// <summary>
    /// libtorch's operators, fused if possible, with limited memory: any device and floating-point dtype. Attention, linear cross entropy and the
    /// state-space dual support it.
    /// </summary>
    LibTorch,

    /// <summary>
    /// This library's CUDA kernels, compiled for the GPU on first use: float32 and bfloat16 on compute capability 8.0 and later.
    /// </summary>
    Cuda,
}
