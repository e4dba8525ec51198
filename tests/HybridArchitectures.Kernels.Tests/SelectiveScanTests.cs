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
        inputs.Remove("dtBias");
        inputs["A"] = full_like(inputs["A"], rate);
        inputs["dt"] = rand_like(inputs["dt"]) * step;
        CheckAgainstReference(inputs, null, (i, layout) => SelectiveScan.Forward(i["x"], i["dt"], i["A"], i["B"], i["C"], i["D"], i["z"],
            initialState: i["initialState"]));
    }

    [Fact]
    public void Groups_that_do_not_divide_the_channels_are_refused()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(1, 5);
        inputs["B"] = inputs["C"] = zeros([1, 5, 3, 16], ScalarType.Float64);
        Assert.Contains("3 groups", Assert.Throws<ArgumentException>("B", () => Forward(inputs)).Message);
        inputs["B"] = zeros([1, 5, 2, 16], ScalarType.Float64);
        inputs["C"] = zeros([1, 5, 1, 16], ScalarType.Float64);
        Assert.Throws<ArgumentException>("C", () => Forward(inputs));
    }
}
