using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes the generalized delta rule for the tests.</summary>
/// <param name="minDecay">The minimum of decays that the operator is told, or null.</param>
public sealed class GeneralizedDeltaRuleOperator(double? minDecay = null) : RecurrentOperator
{
    // heads, value size, key size
    static readonly (long H, long V, long K)[] Sizes = [(3, 10, 8), (2, 5, 7), (1, 16, 32), (4, 1, 1)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["query", "key", "value", "decay", "removal", "rate"];

    public override KernelBackend BackendFor(Tensor x) => GeneralizedDeltaRule.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { GeneralizedDeltaRuleBackend = backend };

    public override Tensors Inputs(long batch, long length, int variant = 0)
    {
        manual_seed(9 + Draw);
        var (h, v, k) = Sizes[variant];
        long[] shape = [batch, length, h, k];
        var removal = randn(shape, ScalarType.Float64);
        return new()
        {
            ["query"] = randn(shape, ScalarType.Float64),
            ["key"] = randn(shape, ScalarType.Float64),
            ["value"] = randn([batch, length, h, v], ScalarType.Float64),
            ["decay"] = rand(shape, ScalarType.Float64) * -0.6,
            ["removal"] = removal / removal.norm(-1, keepdim: true),
            ["rate"] = rand(shape, ScalarType.Float64),
            ["initialState"] = randn([batch, h, k, v], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        GeneralizedDeltaRule.Forward(i["query"], i["key"], i["value"], i["decay"], i["removal"], i["rate"], i.GetValueOrDefault("initialState"),
            layout, chunkSize, minDecay);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) =>
        GeneralizedDeltaRuleReference.Forward(new(i["query"], i["key"], i["value"], i["decay"], i["removal"], i["rate"])
        {
            InitialState = i.GetValueOrDefault("initialState"), Layout = layout,
        });

    public override Tensor Step(Tensor state, Tensors i) =>
        GeneralizedDeltaRule.Step(state, i["query"], i["key"], i["value"], i["decay"], i["removal"], i["rate"]);
}
