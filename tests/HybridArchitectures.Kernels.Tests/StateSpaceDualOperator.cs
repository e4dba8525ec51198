using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public sealed class StateSpaceDualOperator : SequenceOperator
{
    // heads, head size, groups, state size
    static readonly (long H, long P, long G, long N)[] Sizes =
        [(4, 8, 2, 16), (3, 5, 3, 7), (4, 64, 1, 64), (2, 32, 1, 96), (8, 16, 2, 128), (5, 1, 1, 1), (2, 128, 2, 24), (10, 8, 1, 8), (4, 24, 4, 256)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["x", "timeStep", "b", "c"];

    public override IReadOnlyList<string> Optional => ["skip", "timeStepBias", "initialState"];

    public override KernelBackend Backend { set => StateSpaceDual.Backend = value; }

    public override KernelBackend BackendFor(Tensor x) => StateSpaceDual.BackendFor(x);

    public override Tensors Inputs(long batch, long length, int variant = 0) => Inputs(batch, length, Sizes[variant].H, Sizes[variant].P, Sizes[variant].G, Sizes[variant].N);

    public static Tensors Inputs(long batch, long length, long h, long p, long g, long n)
    {
        manual_seed(7);
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

    public override (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout = null) => Forward(inputs, layout, 64);

    public static (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize, (double, double)? limit = null) =>
        StateSpaceDual.Forward(i["x"], i["timeStep"], i["a"], i["b"], i["c"], i.GetValueOrDefault("skip"), i.GetValueOrDefault("timeStepBias"), true, limit,
            i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override (Tensor Output, Tensor Final) Composed(Tensors i, SequenceLayout? layout = null) =>
        ChunkedStateSpaceDual.Forward(i["x"], i["timeStep"], i["a"], i["b"], i["c"], i.GetValueOrDefault("skip"), i.GetValueOrDefault("timeStepBias"), true, null,
            i.GetValueOrDefault("initialState"), layout, 64);

    public override Tensor Step(Tensor state, Tensors i) =>
        StateSpaceDual.Step(state, i["x"], i["timeStep"], i["a"], i["b"], i["c"], i.GetValueOrDefault("skip"), i.GetValueOrDefault("timeStepBias"), true);
}
