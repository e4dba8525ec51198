using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public class StateSpaceDualTests : SequenceOperatorTests
{
    // heads, head size, groups, state size
    static readonly (long H, long P, long G, long N)[] Sizes =
        [(4, 8, 2, 16), (3, 5, 3, 7), (4, 64, 1, 64), (2, 32, 1, 96), (8, 16, 2, 128), (5, 1, 1, 1), (2, 128, 2, 24), (10, 8, 1, 8), (4, 24, 4, 256)];

    protected override int Variants => Sizes.Length;

    protected override IReadOnlyList<string> Timed => ["x", "timeStep", "b", "c"];

    protected override IReadOnlyList<string> Optional => ["skip", "timeStepBias", "initialState"];

    protected override KernelBackend Backend { set => StateSpaceDual.Backend = value; }

    protected override KernelBackend BackendFor(Tensor x) => StateSpaceDual.BackendFor(x);

    protected override Tensors Inputs(long batch, long length, int variant = 0)
    {
        manual_seed(7);
        var (h, p, g, n) = Sizes[variant];
        return new()
        {
            ["x"] = randn([batch, length, h, p], ScalarType.Float64),
            ["timeStep"] = randn([batch, length, h], ScalarType.Float64) - 1.5,
            ["a"] = -rand([h], ScalarType.Float64) * 2 - 0.01,
            ["b"] = randn([batch, length, g, n], ScalarType.Float64),
            ["c"] = randn([batch, length, g, n], ScalarType.Float64),
            ["skip"] = randn([h], ScalarType.Float64),
            ["timeStepBias"] = randn([h], ScalarType.Float64) * 0.3,
            ["initialState"] = randn([batch, h, p, n], ScalarType.Float64),
        };
    }

    protected override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout = null) => Forward(i, layout, 64);

    static (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize, (double, double)? limit = null) =>
        StateSpaceDual.Forward(i["x"], i["timeStep"], i["a"], i["b"], i["c"], i.GetValueOrDefault("skip"), i.GetValueOrDefault("timeStepBias"), true, limit,
            i.GetValueOrDefault("initialState"), layout, chunkSize);

    protected override Tensor Step(Tensor state, Tensors i) =>
        StateSpaceDual.Step(state, i["x"], i["timeStep"], i["a"], i["b"], i["c"], i.GetValueOrDefault("skip"), i.GetValueOrDefault("timeStepBias"), true);

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
            StateSpaceDual.Forward(inputs["x"], inputs["timeStep"].abs(), inputs["a"], inputs["b"], inputs["c"],
            timeStepLimit: (0, double.PositiveInfinity)));
    }

    [Theory]
    [InlineData(-16, 0.1), InlineData(-16, 10), InlineData(-1000, 100), InlineData(-1e-4, 1e-3)]
    public void Strong_and_weak_decay_stay_finite_and_right(double rate, double step)
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 300);
        inputs.Remove("timeStepBias");
        inputs["a"] = full_like(inputs["a"], rate);
        inputs["timeStep"] = rand_like(inputs["timeStep"]) * step;
        CheckAgainstReference(inputs, null, (i, layout) => StateSpaceDual.Forward(i["x"], i["timeStep"], i["a"], i["b"], i["c"], i["skip"],
            initialState: i["initialState"], layout: layout, chunkSize: 256));
    }

    [Fact]
    public void Bad_sizes_and_limits_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(1, 5);
        Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => Forward(inputs, null, 48));
        Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => Forward(inputs, null, 0));
        Assert.Throws<ArgumentOutOfRangeException>("timeStepLimit", () => Forward(inputs, null, 64, (0.2, 0.1)));
        Assert.Throws<ArgumentOutOfRangeException>("timeStepLimit", () => Forward(inputs, null, 64, (double.NaN, 1)));
        inputs["b"] = inputs["c"] = zeros([1, 5, 3, 16], ScalarType.Float64);
        Assert.Contains("3 groups", Assert.Throws<ArgumentException>("b", () => Forward(inputs)).Message);
    }
}
