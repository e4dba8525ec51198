using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes the gated delta rule with a decay per key channel for the tests.</summary>
public sealed class ChannelDeltaRuleOperator : RecurrentOperator
{
    // heads, value size, groups, key size
    static readonly (long H, long V, long G, long K)[] Sizes = [(4, 10, 2, 8), (3, 5, 3, 7), (2, 16, 1, 32), (5, 1, 1, 1)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["query", "key", "value", "decay", "strength"];

    public override KernelBackend BackendFor(Tensor x) => ChannelDeltaRule.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { ChannelDeltaRuleBackend = backend };

    public override Tensors Inputs(long batch, long length, int variant = 0)
    {
        manual_seed(7 + Draw);
        var (h, v, g, k) = Sizes[variant];
        var key = randn([batch, length, g, k], ScalarType.Float64);
        return new()
        {
            ["query"] = randn([batch, length, g, k], ScalarType.Float64),
            ["key"] = key / key.norm(-1, keepdim: true),
            ["value"] = randn([batch, length, h, v], ScalarType.Float64),
            ["decay"] = -rand([batch, length, h, k], ScalarType.Float64),
            ["strength"] = rand([batch, length, h], ScalarType.Float64),
            ["initialState"] = randn([batch, h, k, v], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        ChannelDeltaRule.Forward(i["query"], i["key"], i["value"], i["decay"], i["strength"], i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) =>
        ChannelDeltaRuleReference.Forward(new(i["query"], i["key"], i["value"], i["decay"], i["strength"])
        {
            InitialState = i.GetValueOrDefault("initialState"), Layout = layout, DecaysChannels = true,
        });

    public override Tensor Step(Tensor state, Tensors i) => ChannelDeltaRule.Step(state, i["query"], i["key"], i["value"], i["decay"], i["strength"]);
}
