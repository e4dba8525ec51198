using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes the gated delta rule for the tests.</summary>
public sealed class GatedDeltaRuleOperator : DeltaRuleOperator
{
    public override int ChunkSize => 64;

    public override KernelBackend BackendFor(Tensor x) => GatedDeltaRule.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { GatedDeltaRuleBackend = backend };

    protected override long[] DecaySize(long batch, long length, long heads, long keySize) => [batch, length, heads];

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        GatedDeltaRule.Forward(i["query"], i["key"], i["value"], i["decay"], i["strength"], i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override Tensor Step(Tensor state, Tensors i) => GatedDeltaRule.Step(state, i["query"], i["key"], i["value"], i["decay"], i["strength"]);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) => GatedDeltaRuleReference.Forward(
        new(i["query"], i["key"], i["value"], i["decay"], i["strength"]) { InitialState = i.GetValueOrDefault("initialState"), Layout = layout });

    /// <summary>
    /// Computes chunks as they are composed in the dtype of the activations (arXiv 2412.06464, section 3.3): every product of two tensors has
    /// operands and a result of that dtype. Sums of logarithms, the triangular systems and states are float32.
    /// </summary>
    public override (Tensor Output, Tensor Final) Rounded(Tensors i, SequenceLayout? layout)
    {
        var value = i["value"];
        var type = value.dtype;
        long batch = value.size(0), length = value.size(1), heads = value.size(2);
        var (queries, keys) = (Chunks(SequenceMasks.Spread(i["query"], heads), layout), Chunks(SequenceMasks.Spread(i["key"], heads), layout));
        var (values, strengths) = (Chunks(value, layout), Chunks(i["strength"].to(ScalarType.Float32), layout));
        var (weights, fromStart) = Decays(Chunks(i["decay"].to(ScalarType.Float32), layout), layout, length);
        var later = Order(value.device).unsqueeze(1).gt(Order(value.device).unsqueeze(0));
        var lower = (einsum("cbhik,cbhjk->cbhij", keys, keys) * weights * strengths.unsqueeze(-1)).masked_fill(later.logical_not(), Scalars.Zero);
        var solved = linalg.inv(lower + eye(Size, dtype: ScalarType.Float32, device: value.device)).to(type);
        var scores = (einsum("cbhik,cbhjk->cbhij", queries, keys) * weights).to(type);
        var writing = (keys * weights.select(3, Size - 1).unsqueeze(-1)).to(type);
        var state = i.GetValueOrDefault("initialState") ?? zeros([batch, heads, keys.size(-1), values.size(-1)], ScalarType.Float32, value.device);
        var outputs = new Tensor[values.size(0)];
        for (int c = 0; c < outputs.Length; c++)
        {
            var before = state.to(type);
            var missing = ((values[c] - einsum("bhik,bhkv->bhiv", keys[c], before) * fromStart[c]) * strengths[c].unsqueeze(-1)).to(type);
            var written = einsum("bhij,bhjv->bhiv", solved[c], missing);
            outputs[c] = (einsum("bhik,bhkv->bhiv", queries[c], before) * fromStart[c]).add(einsum("bhij,bhjv->bhiv", scores[c], written),
                Scalars.One).to(type);
            state = (state * fromStart[c].select(2, Size - 1).unsqueeze(-1)).add(einsum("bhik,bhiv->bhkv", writing[c], written), Scalars.One);
        }
        var output = stack(outputs, 1).transpose(2, 3).flatten(1, 2).narrow(1, 0, length);
        return (SequenceMasks.WithoutPads(output, layout), state);
    }

    internal const long Size = 64;

    internal static Tensor Order(Device device) => arange(Size, ScalarType.Int64, device);

    // (batch, length, heads, ...) to (chunks, batch, heads, 64, ...)
    internal static Tensor Chunks(Tensor tensor, SequenceLayout? layout)
    {
        long batch = tensor.size(0), length = tensor.size(1), chunks = (length + Size - 1) / Size;
        tensor = SequenceMasks.WithoutPads(tensor, layout);
        if (chunks * Size > length)
            tensor = cat([tensor, zeros([batch, chunks * Size - length, .. tensor.shape[2..]], tensor.dtype, tensor.device)], 1);
        return tensor.unflatten(1, chunks, Size).transpose(2, 3).transpose(0, 1);
    }

    // decays from each token of a chunk to each later one, and from the chunk's start to each token; zero across documents
    static (Tensor Weights, Tensor FromStart) Decays(Tensor logarithms, SequenceLayout? layout, long length)
    {
        long chunks = logarithms.size(0), batch = logarithms.size(1), heads = logarithms.size(2);
        var order = Order(logarithms.device);
        var (hidden, later) = (order.unsqueeze(1).lt(order.unsqueeze(0)), order.unsqueeze(1).gt(order.unsqueeze(0)));
        var between = logarithms.unsqueeze(-1).expand(chunks, batch, heads, Size, Size).masked_fill(later.logical_not(), Scalars.Zero).cumsum(-2);
        var fromStart = logarithms.cumsum(-1);
        if (Started(layout, batch, length, chunks) is { } started)
        {
            hidden = hidden.logical_or(started.unsqueeze(-1).ne(started.unsqueeze(-2)));
            fromStart = fromStart.masked_fill(started.gt(Scalars.Zero), Scalars.MinusInfinity);
        }
        return (between.masked_fill(hidden, Scalars.MinusInfinity).exp(), fromStart.exp().unsqueeze(-1));
    }

    // how many documents have started in a chunk, (chunks, batch, 1, 64), or null
    internal static Tensor? Started(SequenceLayout? layout, long batch, long length, long chunks) => layout?.Starts is not { } starts ? null
        : cat([starts.to(ScalarType.Int64), zeros([batch, chunks * Size - length], ScalarType.Int64, starts.device)], 1)
            .unflatten(1, chunks, Size).cumsum(2).transpose(0, 1).unsqueeze(2);
}
