using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests an operator along a sequence whose state decays, on a GPU.</summary>
public abstract class ScanDeviceTests : SequenceDeviceTests
{
    [Theory]
    [InlineData(-16, -2.252)]       // a step of 0.1 after the softplus
    [InlineData(-16, 10)]
    [InlineData(-1000, 100)]
    [InlineData(-1e-4, -7)]
    public void Strong_and_weak_decay_stay_finite_and_right(double rate, double step)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() =>
        {
            var inputs = Operator.Inputs(2, 600);
            inputs.Remove("dtBias");
            inputs["A"] = full_like(inputs["A"], rate);
            inputs["dt"] = full_like(inputs["dt"], step);
            return inputs;
        });
    }
}
