using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the attention kernels with products of single warps on the present GPU, also on compute capability 9.0.</summary>
[Trait("device", "cuda")]
public class AttentionWarpDeviceTests : AttentionKernelDeviceTests
{
    public AttentionWarpDeviceTests() : base(0)
    {
    }

    protected AttentionWarpDeviceTests(int sharedMemory) : base(0, sharedMemory)
    {
    }

    protected override void IsNeeded()
    {
        Gpu.IsNeeded();
        using var one = zeros([1, 2, 1, 8], ScalarType.BFloat16, Gpu.Device);
        Assert.SkipUnless(FusedAttention.BackendFor(one) == KernelBackend.Cuda, "the attention kernels are not for this GPU");
    }
}
