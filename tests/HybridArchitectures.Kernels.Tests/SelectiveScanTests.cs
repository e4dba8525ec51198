using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class SelectiveScanTests : SequenceOperatorTests
{
    protected override SequenceOperator Operator { get; } = new SelectiveScanOperator();

    [Theory]
    [InlineData(-16, 0.1), InlineData(-16, 10), InlineData(-1000, 100), InlineData(-1e-4, 1e-3)]
    public void Strong_and_weak_decay_stay_finite_and_right(double rate, double step)
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 300);
        inputs.Remove("timeStepBias");
        inputs["a"] = full_like(inputs["a"], rate);
        inputs["timeStep"] = rand_like(inputs["timeStep"]) * step;
        CheckAgainstReference(inputs, null, (i, layout) => SelectiveScan.Forward(i["x"], i["timeStep"], i["a"], i["b"], i["c"], i["skip"], i["gate"],
            initialState: i["initialState"]));
    }

    [Fact]
    public void Groups_that_do_not_divide_the_channels_are_refused()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(1, 5);
        inputs["b"] = inputs["c"] = zeros([1, 5, 3, 16], ScalarType.Float64);
        Assert.Contains("3 groups", Assert.Throws<ArgumentException>("b", () => Forward(inputs)).Message);
        inputs["b"] = zeros([1, 5, 2, 16], ScalarType.Float64);
        inputs["c"] = zeros([1, 5, 1, 16], ScalarType.Float64);
        Assert.Throws<ArgumentException>("c", () => Forward(inputs));
    }
}
