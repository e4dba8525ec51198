using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the CUDA kernels of an operator along a sequence whose state decays, under emulation.</summary>
public abstract class ScanEmulationTests : SequenceEmulationTests
{
    [Theory]
    [InlineData(-16, -2.252)]       // a step of 0.1 after the softplus
    [InlineData(-1000, 100)]
    public void Strong_decay_stays_finite_and_right(double rate, double step)
    {
        using var scope = NewDisposeScope();
        var inputs = Operator.Inputs(1, 70, Variant);
        inputs.Remove("dtBias");
        inputs["A"] = full_like(inputs["A"], rate);
        inputs["dt"] = full_like(inputs["dt"], step);
        var exact = Operator.Evaluate(inputs, ScalarType.Float64, rounding: ScalarType.Float32, forward: Operator.Composed);
        CudaEmulation.BothOrders(() =>
        {
            var actual = Operator.Evaluate(inputs, ScalarType.Float32);
            foreach (var name in exact.Keys) SequenceOperator.Close(name, actual[name], exact[name], ScalarType.Float32);
        });
    }
}
