using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests an operator with a decay per key channel on a GPU.</summary>
[Trait("device", "cuda")]
public abstract class ChannelDecayDeviceTests(DeltaRuleOperator op) : DeltaRuleDeviceTests(op)
{
    readonly DeltaRuleOperator op = op;

    [Fact]
    public void Channels_with_very_different_decays()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() =>
        {
            var inputs = op.Sized(2, 300, 4, 128, 2, 128);
            var draws = rand(inputs["decay"].shape, ScalarType.Float64);
            inputs["decay"] = where(draws.lt(0.2), inputs["decay"] * 300, where(draws.lt(0.5), inputs["decay"] * 20, inputs["decay"] * 1e-3));
            return inputs;
        });
    }
}
