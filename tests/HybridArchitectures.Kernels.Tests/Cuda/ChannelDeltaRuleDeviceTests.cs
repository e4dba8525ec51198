using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the gated delta rule with a decay per key channel on a GPU.</summary>
[Trait("device", "cuda")]
public sealed class ChannelDeltaRuleDeviceTests() : DeltaRuleDeviceTests(new ChannelDeltaRuleOperator())
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

    [Fact]
    public void Channels_with_very_different_decays()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        var op = new ChannelDeltaRuleOperator();
        ErrsAtMostTwice(() =>
        {
            var inputs = op.Sized(2, 300, 4, 128, 2, 128);
            var draws = rand(inputs["decay"].shape, ScalarType.Float64);
            inputs["decay"] = where(draws.lt(0.2), inputs["decay"] * 300, where(draws.lt(0.5), inputs["decay"] * 20, inputs["decay"] * 1e-3));
            return inputs;
        });
    }
}
