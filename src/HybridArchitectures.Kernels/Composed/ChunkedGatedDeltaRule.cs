using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes the gated delta rule in chunks with libtorch's batched products and gradients, for any device and dtype. The values that the tokens of a
/// chunk write follow from a unit triangular system (arXiv 2406.06484, section 3.2, with the decays of arXiv 2412.06464), which is solved for all
/// chunks together. Only the states are passed from chunk to chunk. The arguments are those of <see cref="Operators.GatedDeltaRule.Forward"/>.
/// </summary>
static class ChunkedGatedDeltaRule
{
    public static (Tensor Output, Tensor FinalState) Forward(DeltaRuleInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (query, key, value, layout) = (inputs.Query, inputs.Key, inputs.Value, inputs.Layout);
        var type = SequenceChecks.StateType(value);
        long batch = value.size(0), length = value.size(1), heads = value.size(2), keySize = key.size(3), valueSize = value.size(3),
            rows = batch * heads;
        long size = Math.Min(inputs.ChunkSize, length), chunks = (length + size - 1) / size;
        // (B, L, H, ...) to (C B H, Q, ...), with zeros at padding and past the end, where nothing is forgotten or written
        Tensor Chunked(Tensor tensor) =>
            SequenceMasks.Chunked(tensor.to(type), layout, chunks, size).transpose(2, 3).transpose(0, 1).flatten(0, 2);
        // (N, Q, K or V), N = C B H
        var (queries, keys, values) = (Chunked(SequenceMasks.Spread(query, heads)), Chunked(SequenceMasks.Spread(key, heads)), Chunked(value));
        // (N, Q), (N, Q, 1)
        var (logarithms, strengths) = (Chunked(inputs.Decay), Chunked(inputs.Strength).unsqueeze(-1));

        var (later, decays, fromStart) = Decays(logarithms, layout, (chunks, size, heads));

        // (1 + A) written = strength (value - decayed key^T state), A strictly lower triangular: solved for the part of the values and for the part
        // of the state
        var keysTransposed = keys.transpose(1, 2);
        var corrections = (bmm(keys * strengths, keysTransposed) * decays).masked_fill(later.logical_not(), Scalars.Zero);
        var sides = cat([values * strengths, keys * (strengths * fromStart)], -1);
        var solved = TorchOperator.Call("aten::linalg_solve_triangular", "", corrections, sides, false, true, true); // upper, left, unit triangular
        Tensor[] PerChunk(Tensor tensor) => tensor.unflatten(0, chunks, rows).unbind(0);
        var (ofValues, ofState) = (PerChunk(solved.narrow(-1, 0, valueSize)), PerChunk(solved.narrow(-1, valueSize, keySize)));

        var scores = PerChunk(bmm(queries, keysTransposed) * decays);
        var reading = PerChunk(queries * fromStart);
        var writing = PerChunk((keys * decays.select(1, size - 1).unsqueeze(-1)).transpose(1, 2));           // each (B H, K, Q)
        var kept = PerChunk(fromStart.narrow(1, size - 1, 1));                                               // each (B H, 1, 1)
        var state = inputs.InitialState is { } initial ? initial.to(type).flatten(0, 1) : zeros([rows, keySize, valueSize], type, value.device);
        Tensor[] outputs;
        (outputs, state) = Recur(state, ofValues, ofState, scores, reading, writing, kept);
        var output = stack(outputs, 0).unflatten(1, batch, heads).permute(1, 0, 3, 2, 4).flatten(1, 2).narrow(1, 0, length);      // (B, L, H, V)
        output = SequenceMasks.WithoutPads(output, layout).to(value.dtype).contiguous();
        return (output.MoveToOuterDisposeScope(), state.unflatten(0, batch, heads).MoveToOuterDisposeScope());
    }

    // computes the outputs and the state of one chunk after another
    static (Tensor[] Outputs, Tensor State) Recur(Tensor state, Tensor[] ofValues, Tensor[] ofState, Tensor[] scores, Tensor[] reading,
        Tensor[] writing, Tensor[] kept)
    {
        var outputs = new Tensor[scores.Length];
        for (int chunk = 0; chunk < outputs.Length; chunk++)
        {
            var written = ofValues[chunk] - bmm(ofState[chunk], state);
            outputs[chunk] = bmm(scores[chunk], written).add(bmm(reading[chunk], state), Scalars.One);
            state = (state * kept[chunk]).add(bmm(writing[chunk], written), Scalars.One);
        }
        return (outputs, state);
    }

    // which tokens are later than which others; the decays between the tokens of a chunk, shape (N, Q, Q), 1 on the diagonal, and those since its
    // start, shape (N, Q, 1)
    static (Tensor Later, Tensor Between, Tensor FromStart) Decays(
        Tensor logarithms, SequenceLayout? layout, (long Chunks, long Size, long Heads) shape)
    {
        long size = shape.Size;
        // between[i, j]: the logarithm of the remainder at token i of what token j wrote, a separate sum for each pair, without cancellation
        var order = Indices.Range(0, size, logarithms.device);
        var later = order.unsqueeze(1).gt(order.unsqueeze(0));                                               // (Q, Q): i > j
        var between = logarithms.unsqueeze(-1).expand(logarithms.size(0), size, size).masked_fill(later.logical_not(), Scalars.Zero).cumsum(-2);
        var (hidden, fresh) = ChunkDocuments.From(layout, shape.Chunks, shape.Size, shape.Heads, logarithms.device);
        var fromStart = logarithms.cumsum(-1);                                                               // (N, Q)
        if (fresh is not null) fromStart = fromStart.masked_fill(fresh, Scalars.MinusInfinity);
        var decays = between.masked_fill(hidden, Scalars.MinusInfinity).exp();                               // (N, Q, Q), 1 on the diagonal
        return (later, decays, fromStart.exp().unsqueeze(-1));
    }
}
