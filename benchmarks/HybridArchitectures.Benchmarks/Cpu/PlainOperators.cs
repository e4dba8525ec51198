using HybridArchitectures.Kernels;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>Selects, for a scope, the composition of TorchSharp's operators that a user would write.</summary>
static class PlainOperators
{
    /// <summary>Sets the back ends until the returned scope is disposed.</summary>
    /// <param name="dual">The back end of the state-space dual. The default is chunks of matrix products.</param>
    public static IDisposable Use(KernelBackend dual = KernelBackend.LibTorch) => OperatorOptions.Use(new()
    {
        SelectiveScanBackend = KernelBackend.Reference, StateSpaceDualBackend = dual, CausalConvolutionBackend = KernelBackend.Reference,
        RmsNormBackend = KernelBackend.Reference, GatedRmsNormBackend = KernelBackend.Reference, SwiGluBackend = KernelBackend.Reference,
        RotaryBackend = KernelBackend.Reference, LinearCrossEntropyBackend = KernelBackend.Reference, FewRowsLinearBackend = KernelBackend.Reference,
    });
}
