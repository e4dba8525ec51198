using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the gated delta rule with a decay per key channel on a GPU.</summary>
[Trait("device", "cuda")]
public sealed class ChannelDeltaRuleDeviceTests() : ChannelDecayDeviceTests(new ChannelDeltaRuleOperator())
{
    [Fact]
    public void Heads_of_64_and_128_have_kernels_and_others_fall_back()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        Tensor New(long heads, long size, ScalarType type) => zeros([1, 2, heads, size], type, Gpu.Device);
        Assert.Equal(KernelBackend.Cuda, ChannelDeltaRule.BackendFor(New(1, 64, ScalarType.BFloat16), New(2, 128, ScalarType.BFloat16)));
        Assert.Equal(KernelBackend.Cuda, ChannelDeltaRule.BackendFor(New(1, 128, ScalarType.BFloat16)));
        Assert.Equal(KernelBackend.LibTorch, ChannelDeltaRule.BackendFor(New(1, 128, ScalarType.Float32)));
        Assert.Equal(KernelBackend.LibTorch, ChannelDeltaRule.BackendFor(New(1, 136, ScalarType.BFloat16)));
        Assert.Equal(KernelBackend.LibTorch, ChannelDeltaRule.BackendFor(New(1, 7, ScalarType.BFloat16)));
    }
}
