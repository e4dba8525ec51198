using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>
/// Until disposed, every operator is the composition of TorchSharp's that a user would write, the state-space dual by chunks of matrix products
/// unless said otherwise.
/// </summary>
sealed class PlainOperators : IDisposable
{
    public PlainOperators(KernelBackend dual = KernelBackend.LibTorch)
    {
        Set(KernelBackend.Reference);
        StateSpaceDual.Backend = dual;
    }

    public void Dispose() => Set(KernelBackend.Auto);

    static void Set(KernelBackend backend)
    {
        SelectiveScan.Backend = StateSpaceDual.Backend = CausalConvolution.Backend = backend;
        RmsNorm.Backend = GatedRmsNorm.Backend = SwiGlu.Backend = Rotary.Backend = LinearCrossEntropy.Backend = FewRowsLinear.Backend = backend;
    }
}
