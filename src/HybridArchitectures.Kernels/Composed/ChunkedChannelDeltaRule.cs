using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes the gated delta rule with a decay per key channel in chunks, with libtorch's batched products and gradients, for any device and dtype. As
/// in <see cref="ChunkedGatedDeltaRule"/>, the values that a chunk writes follow from a unit triangular system. A decay per channel cannot be taken
/// out of a product of keys, so the decayed keys of all pairs of a chunk are a table. The arguments are those of
/// <see cref="Operators.ChannelDeltaRule.Forward"/>.
/// </summary>
static class ChunkedChannelDeltaRule
{
    /// <summary>Contains the tensors of all chunks: N = chunks x batch x heads rows of Q tokens.</summary>
    /// <param name="Written">The part of the values in the corrections, (N, Q, V).</param>
    /// <param name="Erased">The factor of the state before the chunk, which is subtracted, (N, Q, K).</param>
    /// <param name="Scores">Products of queries and decayed keys, (N, Q, Q).</param>
    /// <param name="Reading">Queries that read the state before the chunk, (N, Q, K).</param>
    /// <param name="Writing">Keys that write the state after the chunk, (N, K, Q).</param>
    /// <param name="Kept">The part of the state that remains after the chunk, (N, K, 1).</param>
    readonly record struct Chunks(Tensor Written, Tensor Erased, Tensor Scores, Tensor Reading, Tensor Writing, Tensor Kept);

    public static (Tensor Output, Tensor FinalState) Forward(DeltaRuleInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (value, layout) = (inputs.Value, inputs.Layout);
        var type = SequenceChecks.StateType(value);
        long batch = inputs.Batch, length = inputs.Length, heads = inputs.Heads, rows = batch * heads;
        long size = Math.Min(inputs.ChunkSize, length), chunks = (length + size - 1) / size;
        // (B, L, H, ...) to (C B H, Q, ...), with zeros at padding and past the end, where nothing is forgotten or written
        Tensor Chunked(Tensor tensor) =>
            SequenceMasks.Chunked(tensor.to(type), layout, chunks, size).transpose(2, 3).transpose(0, 1).flatten(0, 2);
        var (hidden, fresh) = ChunkDocuments.From(layout, chunks, size, heads, value.device);
        var all = Prepare(Chunked(SequenceMasks.Spread(inputs.Query, heads)), Chunked(SequenceMasks.Spread(inputs.Key, heads)), Chunked(value),
            Chunked(inputs.Decay), Chunked(inputs.Strength).unsqueeze(-1), hidden, fresh);
        Tensor[] PerChunk(Tensor tensor) => tensor.unflatten(0, chunks, rows).unbind(0);
        var (written, erased, scores) = (PerChunk(all.Written), PerChunk(all.Erased), PerChunk(all.Scores));
        var (reading, writing, kept) = (PerChunk(all.Reading), PerChunk(all.Writing), PerChunk(all.Kept));
        var state = inputs.InitialState?.to(type).flatten(0, 1) ?? zeros([rows, inputs.KeySize, inputs.ValueSize], type, value.device);
        var outputs = new Tensor[chunks];
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            var corrected = written[chunk] - bmm(erased[chunk], state);
            outputs[chunk] = bmm(scores[chunk], corrected).add(bmm(reading[chunk], state), Scalars.One);
            state = (state * kept[chunk]).add(bmm(writing[chunk], corrected), Scalars.One);
        }
        var output = stack(outputs, 0).unflatten(1, batch, heads).permute(1, 0, 3, 2, 4).flatten(1, 2).narrow(1, 0, length);      // (B, L, H, V)
        output = SequenceMasks.WithoutPads(output, layout).to(value.dtype).contiguous();
        return (output.MoveToOuterDisposeScope(), state.unflatten(0, batch, heads).MoveToOuterDisposeScope());
    }

    static Chunks Prepare(Tensor queries, Tensor keys, Tensor values, Tensor logarithms, Tensor strengths, Tensor hidden, Tensor? fresh)
    {
        long size = keys.size(1), keySize = keys.size(2), valueSize = values.size(2);
        var order = Indices.Range(0, size, keys.device);
        var notEarlier = order.unsqueeze(1).le(order.unsqueeze(0));                                          // (Q, Q): i <= j
        // the logarithm of the remainder at token i of what token j wrote, (N, Q, Q, K): a separate sum for each pair, without cancellation
        var between = logarithms.unsqueeze(2).expand(keys.size(0), size, size, keySize).masked_fill(notEarlier.unsqueeze(-1), Scalars.Zero).cumsum(1);
        // the key of token j as token i sees it, 0 for pairs that do not see each other
        var seen = keys.unsqueeze(1) * between.masked_fill(hidden.unsqueeze(-1), Scalars.MinusInfinity).exp();
        var both = stack([keys * strengths, queries], -1).flatten(0, 1);                                     // (N Q, K, 2)
        var products = bmm(seen.flatten(0, 1), both).unflatten(0, -1, size);                                 // (N, Q, Q, 2)
        var corrections = products.select(-1, 0).masked_fill(notEarlier, Scalars.Zero);
        var sums = logarithms.cumsum(1);                                                                     // (N, Q, K)
        var fromStart = fresh is null ? sums : sums.masked_fill(fresh.unsqueeze(-1), Scalars.MinusInfinity);
        fromStart = fromStart.exp();
        // (1 + corrections) written = strength (value - decayed key^T state), for the part of the values and for the part of the state
        var sides = cat([values * strengths, keys * fromStart * strengths], -1);
        var solved = TorchOperator.Call("aten::linalg_solve_triangular", "", corrections, sides, false, true, true); // upper, left, unit triangular
        return new(solved.narrow(-1, 0, valueSize), solved.narrow(-1, valueSize, keySize), products.select(-1, 1), queries * fromStart,
            seen.select(1, size - 1).transpose(1, 2), fromStart.select(1, size - 1).unsqueeze(-1));
    }
}
