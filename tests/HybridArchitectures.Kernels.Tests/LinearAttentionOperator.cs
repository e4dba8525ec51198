using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes linear attention with a decay per key channel for the tests.</summary>
public sealed class LinearAttentionOperator : DeltaRuleOperator
{
    public override IReadOnlyList<string> Timed => ["query", "key", "value", "decay"];

    // gated linear attention passes decays in float32
    public override IReadOnlyList<string> Activations => ["query", "key", "value"];

    public override KernelBackend BackendFor(Tensor x) => LinearAttention.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { LinearAttentionBackend = backend };

    protected override bool HasStrengths => false;

    protected override long[] DecaySize(long batch, long length, long heads, long keySize) => [batch, length, heads, keySize];

    public override (Tensor Output, Tensor Final) Rounded(Tensors i, SequenceLayout? layout) => ChannelDeltaRuleOperator.Chunked(i, layout);

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        LinearAttention.Forward(i["query"], i["key"], i["value"], i["decay"], i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) => LinearAttentionReference.Forward(
        new(i["query"], i["key"], i["value"], i["decay"]) { InitialState = i.GetValueOrDefault("initialState"), Layout = layout });

    public override Tensor Step(Tensor state, Tensors i) => LinearAttention.Step(state, i["query"], i["key"], i["value"], i["decay"]);
}
