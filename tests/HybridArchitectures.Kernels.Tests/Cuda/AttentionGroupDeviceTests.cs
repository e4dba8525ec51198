using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the attention kernels with products of four warps, for compute capability 9.0.</summary>
[Trait("device", "cuda")]
public sealed class AttentionGroupDeviceTests() : AttentionKernelDeviceTests(90)
{
    protected override void IsNeeded()
    {
        Gpu.IsNeeded();
        using var one = zeros(1, device: Gpu.Device);
        Assert.SkipUnless(CudaRuntime.DeviceOf(one).Capability == 90, "these attention kernels are for compute capability 9.0");
    }
}
