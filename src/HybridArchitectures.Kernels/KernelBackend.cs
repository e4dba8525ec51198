namespace HybridArchitectures.Kernels;

/// <summary>What computes an operator.</summary>
public enum KernelBackend
{
    /// <summary>The fastest one that can serve the given tensors; <c>BackendFor</c> of the operator tells which.</summary>
    Auto,

    /// <summary>The short sequential form over libtorch operators: any device, also float64; slow. The oracle of the tests.</summary>
    Reference,

    /// <summary>Vectorised code on all cores, for float32 and bfloat16 in main memory.</summary>
    Cpu,

    /// <summary>libtorch's own operators, fused where it has them, with bounded memory: any device and floating type. Attention, linear cross entropy and the state-space dual offer it.</summary>
    LibTorch,

    /// <summary>This library's own CUDA kernels, compiled for the card on first use: float32 and bfloat16 on cards of compute capability 8.0 and later.</summary>
    Cuda,
}
