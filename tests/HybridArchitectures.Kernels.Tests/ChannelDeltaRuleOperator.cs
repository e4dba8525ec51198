using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes the gated delta rule with a decay per key channel for the tests.</summary>
public sealed class ChannelDeltaRuleOperator : DeltaRuleOperator
{
    public override KernelBackend BackendFor(Tensor x) => ChannelDeltaRule.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { ChannelDeltaRuleBackend = backend };

    // Kimi delta attention passes decays and strengths in float32
    public override IReadOnlyList<string> Activations => ["query", "key", "value"];

    // decayed keys too
    protected override int RoundedOperands => 3;

    protected override long[] DecaySize(long batch, long length, long heads, long keySize) => [batch, length, heads, keySize];

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        ChannelDeltaRule.Forward(i["query"], i["key"], i["value"], i["decay"], i["strength"], i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) =>
        ChannelDeltaRuleReference.Forward(new(i["query"], i["key"], i["value"], i["decay"], i["strength"])
        {
            InitialState = i.GetValueOrDefault("initialState"), Layout = layout, DecaysChannels = true,
        });

    /// <summary>
    /// Computes chunks as <see cref="GatedDeltaRuleOperator.Rounded"/> does, with the decayed keys of all pairs of a chunk as a table in the dtype of
    /// the activations.
    /// </summary>
    public override (Tensor Output, Tensor Final) Rounded(Tensors i, SequenceLayout? layout) => Chunked(i, layout);

    /// <summary>Does the same. Without strengths, tokens write their values.</summary>
    public static (Tensor Output, Tensor Final) Chunked(Tensors i, SequenceLayout? layout)
    {
        var value = i["value"];
        var type = value.dtype;
        long batch = value.size(0), length = value.size(1), heads = value.size(2);
        Tensor Chunks(Tensor tensor) => GatedDeltaRuleOperator.Chunks(tensor, layout);
        var (queries, keys) = (Chunks(SequenceMasks.Spread(i["query"], heads)), Chunks(SequenceMasks.Spread(i["key"], heads)));
        var values = Chunks(value);
        var strengths = i.TryGetValue("strength", out var given) ? Chunks(given.to(ScalarType.Float32)) : null;
        var (weights, fromStart) = Decays(Chunks(i["decay"].to(ScalarType.Float32)), layout, length);
        var seen = (keys.unsqueeze(3) * weights).to(type);                                                   // (chunks, batch, heads, i, j, K)
        var solved = strengths is null ? null : Solved(einsum("cbhik,cbhijk->cbhij", keys, seen) * strengths.unsqueeze(-1)).to(type);
        var scores = einsum("cbhik,cbhijk->cbhij", queries, seen);
        var writing = seen.select(3, GatedDeltaRuleOperator.Size - 1);
        var (readingKeys, readingQueries) = ((keys * fromStart).to(type), (queries * fromStart).to(type));
        var state = i.GetValueOrDefault("initialState") ?? zeros([batch, heads, keys.size(-1), values.size(-1)], ScalarType.Float32, value.device);
        var outputs = new Tensor[values.size(0)];
        for (int c = 0; c < outputs.Length; c++)
        {
            var before = state.to(type);
            var written = values[c];
            if (strengths is not null)
            {
                var missing = ((written - einsum("bhik,bhkv->bhiv", readingKeys[c], before)) * strengths[c].unsqueeze(-1)).to(type);
                written = einsum("bhij,bhjv->bhiv", solved![c], missing);
            }
            outputs[c] = einsum("bhik,bhkv->bhiv", readingQueries[c], before).add(einsum("bhij,bhjv->bhiv", scores[c], written), Scalars.One);
            state = (state * fromStart[c].select(2, GatedDeltaRuleOperator.Size - 1).unsqueeze(-1))
                .add(einsum("bhik,bhiv->bhkv", writing[c], written), Scalars.One);
        }
        var output = stack(outputs, 1).transpose(2, 3).flatten(1, 2).narrow(1, 0, length);
        return (SequenceMasks.WithoutPads(output, layout), state);
    }

    // the inverse of a unit triangular matrix, of which the strictly lower part is given
    static Tensor Solved(Tensor lower)
    {
        var order = GatedDeltaRuleOperator.Order(lower.device);
        var later = order.unsqueeze(1).gt(order.unsqueeze(0));
        return linalg.inv(lower.masked_fill(later.logical_not(), Scalars.Zero)
            + eye(GatedDeltaRuleOperator.Size, dtype: ScalarType.Float32, device: lower.device));
    }

    // decays from each token of a chunk to each later one, and from the chunk's start to each token; zero across documents
    static (Tensor Weights, Tensor FromStart) Decays(Tensor logarithms, SequenceLayout? layout, long length)
    {
        var order = GatedDeltaRuleOperator.Order(logarithms.device);
        var (hidden, later) = (order.unsqueeze(1).lt(order.unsqueeze(0)), order.unsqueeze(1).gt(order.unsqueeze(0)));
        var between = (logarithms.unsqueeze(4) * later.unsqueeze(-1)).cumsum(3);                             // (chunks, batch, heads, i, j, K)
        var fromStart = logarithms.cumsum(-2);
        if (GatedDeltaRuleOperator.Started(layout, logarithms.size(1), length, logarithms.size(0)) is { } started)
        {
            hidden = hidden.logical_or(started.unsqueeze(-1).ne(started.unsqueeze(-2)));
            fromStart = fromStart.masked_fill(started.gt(Scalars.Zero).unsqueeze(-1), Scalars.MinusInfinity);
        }
        return (between.masked_fill(hidden.unsqueeze(-1), Scalars.MinusInfinity).exp(), fromStart.exp());
    }

    public override Tensor Step(Tensor state, Tensors i) => ChannelDeltaRule.Step(state, i["query"], i["key"], i["value"], i["decay"], i["strength"]);
}
