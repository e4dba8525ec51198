using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public class StateSpaceDualTests : SequenceOperatorTests
{
    protected override SequenceOperator Operator { get; } = new StateSpaceDualOperator();

    static (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout, int chunkSize, (double, double)? limit = null) =>
        StateSpaceDualOperator.Forward(inputs, layout, chunkSize, limit);

    [Theory]
    [InlineData(1), InlineData(8), InlineData(16), InlineData(32), InlineData(128), InlineData(256)]
    public void The_chunk_size_changes_no_result(int chunkSize)
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[150], [20, 100, 7]], 150);
        CheckAgainstReference(Inputs(2, 150), layout, (inputs, at) => Forward(inputs, at, chunkSize));
    }

    [Fact]
    public void Time_steps_are_held_in_their_limits_with_their_gradients()
    {
        using var scope = NewDisposeScope();
        CheckAgainstReference(Inputs(2, 70), null, (inputs, layout) => Forward(inputs, layout, 64, (0.1, 0.3)));
        CheckAgainstReference(Inputs(2, 70), null, (inputs, layout) =>
            StateSpaceDual.Forward(inputs["x"], inputs["dt"].abs(), inputs["A"], inputs["B"], inputs["C"],
            dtLimit: (0, double.PositiveInfinity)));
    }

    [Theory]
    [InlineData(-16, 0.1), InlineData(-16, 10), InlineData(-1000, 100), InlineData(-1e-4, 1e-3)]
    public void Strong_and_weak_decay_stay_finite_and_right(double rate, double step)
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 300);
        inputs.Remove("dtBias");
        inputs["A"] = full_like(inputs["A"], rate);
        inputs["dt"] = rand_like(inputs["dt"]) * step;
        CheckAgainstReference(inputs, null, (i, layout) => StateSpaceDual.Forward(i["x"], i["dt"], i["A"], i["B"], i["C"], i["D"],
            initialState: i["initialState"], layout: layout, chunkSize: 256));
    }

    [Fact]
    public void Bad_sizes_and_limits_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(1, 5);
        Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => Forward(inputs, null, 48));
        Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => Forward(inputs, null, 0));
        Assert.Throws<ArgumentOutOfRangeException>("dtLimit", () => Forward(inputs, null, 64, (0.2, 0.1)));
        Assert.Throws<ArgumentOutOfRangeException>("dtLimit", () => Forward(inputs, null, 64, (double.NaN, 1)));
        inputs["B"] = inputs["C"] = zeros([1, 5, 3, 16], ScalarType.Float64);
        Assert.Contains("3 groups", Assert.Throws<ArgumentException>("B", () => Forward(inputs)).Message);
    }
}
