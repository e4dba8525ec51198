using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public class SelectiveScanTests : SequenceOperatorTests
{
    // channels, groups (0: none named), states
    static readonly (long D, long G, long N)[] Sizes = [(20, 2, 16), (300, 1, 4), (9, 3, 7), (5, 0, 1), (24, 0, 64), (136, 2, 5), (6, 6, 16)];

    protected override int Variants => Sizes.Length;

    protected override IReadOnlyList<string> Timed => ["x", "timeStep", "b", "c", "gate"];

    protected override IReadOnlyList<string> Optional => ["skip", "gate", "timeStepBias", "initialState"];

    protected override KernelBackend Backend { set => SelectiveScan.Backend = value; }

    protected override KernelBackend BackendFor(Tensor x) => SelectiveScan.BackendFor(x);

    protected override Tensors Inputs(long batch, long length, int variant = 0)
    {
        manual_seed(7);
        var (d, g, n) = Sizes[variant];
        long[] grouped = g == 0 ? [batch, length, n] : [batch, length, g, n];
        return new()
        {
            ["x"] = randn([batch, length, d], ScalarType.Float64),
            ["timeStep"] = randn([batch, length, d], ScalarType.Float64) - 1.5,
            ["a"] = -rand([d, n], ScalarType.Float64) * 2 - 0.01,
            ["b"] = randn(grouped, ScalarType.Float64),
            ["c"] = randn(grouped, ScalarType.Float64),
            ["skip"] = randn([d], ScalarType.Float64),
            ["gate"] = randn([batch, length, d], ScalarType.Float64),
            ["timeStepBias"] = randn([d], ScalarType.Float64) * 0.3,
            ["initialState"] = randn([batch, d, n], ScalarType.Float64),
        };
    }

    protected override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout = null) =>
        SelectiveScan.Forward(i["x"], i["timeStep"], i["a"], i["b"], i["c"], i.GetValueOrDefault("skip"), i.GetValueOrDefault("gate"),
            i.GetValueOrDefault("timeStepBias"), true, i.GetValueOrDefault("initialState"), layout);

    protected override Tensor Step(Tensor state, Tensors i) =>
        SelectiveScan.Step(state, i["x"], i["timeStep"], i["a"], i["b"], i["c"], i.GetValueOrDefault("skip"), i.GetValueOrDefault("gate"),
            i.GetValueOrDefault("timeStepBias"), true);

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
