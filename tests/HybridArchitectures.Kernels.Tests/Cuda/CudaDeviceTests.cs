using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the CUDA runtime on a GPU.</summary>
[Trait("device", "cuda")]
public class CudaDeviceTests
{
    [Fact]
    public void A_thread_that_has_no_context_yet_is_served()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var x = randn(64, 128).to(CUDA);
        var expected = RmsNormReference.Forward(x, null).cpu();
        Tensor? result = null;
        var thread = new Thread(() => result = RmsNorm.Forward(x, null).cpu().DetachFromDisposeScope());
        thread.Start();
        thread.Join();
        OperatorCheck.Close(expected, result!, 1e-5, "the output");
        result!.Dispose();
    }
}
