using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes linear attention with a decay per key channel for the tests.</summary>
public sealed class LinearAttentionOperator : RecurrentOperator
{
    // heads, value size, key size
    static readonly (long H, long V, long K)[] Sizes = [(3, 10, 8), (2, 5, 7), (1, 1, 1)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["query", "key", "value", "decay"];

    public override KernelBackend BackendFor(Tensor x) => LinearAttention.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { LinearAttentionBackend = backend };

    public override Tensors Inputs(long batch, long length, int variant = 0)
    {
        manual_seed(13 + Draw);
        var (h, v, k) = Sizes[variant];
        return new()
        {
            ["query"] = randn([batch, length, h, k], ScalarType.Float64),
            ["key"] = randn([batch, length, h, k], ScalarType.Float64),
            ["value"] = randn([batch, length, h, v], ScalarType.Float64),
            ["decay"] = -rand([batch, length, h, k], ScalarType.Float64),
            ["initialState"] = randn([batch, h, k, v], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        LinearAttention.Forward(i["query"], i["key"], i["value"], i["decay"], i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) => LinearAttentionReference.Forward(
        new(i["query"], i["key"], i["value"], i["decay"]) { InitialState = i.GetValueOrDefault("initialState"), Layout = layout });

    public override Tensor Step(Tensor state, Tensors i) => LinearAttention.Step(state, i["query"], i["key"], i["value"], i["decay"]);
}
