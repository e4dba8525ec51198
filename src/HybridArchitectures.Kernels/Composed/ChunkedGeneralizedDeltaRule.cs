using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes the generalized delta rule in chunks, with libtorch's batched products and gradients, for any device and dtype. Let u[t] be
/// removal[t]^T S[t-1], which token t removes. Every state is a sum of decayed keys and removals of earlier tokens, so the u of a chunk follow from a
/// unit triangular system. A decay per channel cannot be taken out of a product of keys, so the decayed keys of all pairs of a chunk are a table.
/// The arguments are those of <see cref="Operators.GeneralizedDeltaRule.Forward"/>.
/// </summary>
static class ChunkedGeneralizedDeltaRule
{
    /// <summary>Contains the tensors of all chunks: N = chunks x batch x heads rows of Q tokens.</summary>
    /// <param name="Removed">The part of u that does not depend on the state before the chunk, (N, Q, V).</param>
    /// <param name="Removing">The factor of the state before the chunk in u, (N, Q, K).</param>
    /// <param name="Read">The part of the outputs that depends on the values alone, (N, Q, V).</param>
    /// <param name="Scores">The factor of u in the outputs, (N, Q, Q).</param>
    /// <param name="Reading">Queries that read the state before the chunk, (N, Q, K).</param>
    /// <param name="Written">The part of the state after the chunk that depends on the values alone, (N, K, V).</param>
    /// <param name="Writing">The factor of u in the state after the chunk, (N, K, Q).</param>
    /// <param name="Kept">The part of the state that remains after the chunk, (N, K, 1).</param>
    readonly record struct Chunks(
        Tensor Removed, Tensor Removing, Tensor Read, Tensor Scores, Tensor Reading, Tensor Written, Tensor Writing, Tensor Kept);

    /// <summary>Contains the inputs in chunks, (N, Q, ...). <paramref name="Writes"/> is -rate x removal.</summary>
    readonly record struct Tokens(Tensor Queries, Tensor Keys, Tensor Values, Tensor Decays, Tensor Removals, Tensor Writes);

    public static (Tensor Output, Tensor FinalState) Forward(GeneralizedDeltaInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (value, layout) = (inputs.Value, inputs.Layout);
        var type = SequenceChecks.StateType(value);
        long batch = inputs.Batch, length = inputs.Length, heads = inputs.Heads, rows = batch * heads;
        long size = Math.Min(inputs.ChunkSize, length), chunks = (length + size - 1) / size;
        // (B, L, H, ...) to (C B H, Q, ...), with zeros at padding and past the end, where nothing is forgotten, removed or written
        Tensor Chunked(Tensor tensor) =>
            SequenceMasks.Chunked(tensor.to(type), layout, chunks, size).transpose(2, 3).transpose(0, 1).flatten(0, 2);
        var removals = Chunked(inputs.Removal);
        var all = Prepare(new(Chunked(inputs.Query), Chunked(inputs.Key), Chunked(value), Chunked(inputs.Decay), removals,
            (Chunked(inputs.Rate) * removals).neg()), ChunkDocuments.From(layout, chunks, size, heads, value.device));
        Tensor[] PerChunk(Tensor tensor) => tensor.unflatten(0, chunks, rows).unbind(0);
        var (removed, removing, read, scores) = (PerChunk(all.Removed), PerChunk(all.Removing), PerChunk(all.Read), PerChunk(all.Scores));
        var (reading, written, writing, kept) = (PerChunk(all.Reading), PerChunk(all.Written), PerChunk(all.Writing), PerChunk(all.Kept));
        var state = inputs.InitialState?.to(type).flatten(0, 1) ?? zeros([rows, inputs.KeySize, inputs.ValueSize], type, value.device);
        var outputs = new Tensor[chunks];
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            var u = removed[chunk].add(bmm(removing[chunk], state), Scalars.One);
            outputs[chunk] = read[chunk].add(bmm(scores[chunk], u), Scalars.One).add(bmm(reading[chunk], state), Scalars.One);
            state = (state * kept[chunk]).add(written[chunk], Scalars.One).add(bmm(writing[chunk], u), Scalars.One);
        }
        var output = stack(outputs, 0).unflatten(1, batch, heads).permute(1, 0, 3, 2, 4).flatten(1, 2).narrow(1, 0, length);      // (B, L, H, V)
        output = SequenceMasks.WithoutPads(output, layout).to(value.dtype).contiguous();
        return (output.MoveToOuterDisposeScope(), state.unflatten(0, batch, heads).MoveToOuterDisposeScope());
    }

    static Chunks Prepare(Tokens tokens, ChunkDocuments documents)
    {
        var (queries, keys, values, decays, removals, writes) = tokens;
        long rows = keys.size(0), size = keys.size(1);
        var seen = Seen(decays, keys, writes, documents.Hidden);                                             // (N, Q, 2 Q, K)
        // the query of token i, and the removal of token i + 1, which reads the state after token i
        var both = stack([queries, Later(removals)], -1).flatten(0, 1);                                      // (N Q, K, 2)
        var products = bmm(seen.flatten(0, 1), both).unflatten(0, rows, size);                               // (N, Q, 2 Q, 2)
        var (readKeys, readWrites) = Halves(products.select(-1, 0), 2);
        var (removedKeys, removedWrites) = Halves(Earlier(products.select(-1, 1)).masked_fill(documents.Hidden.tile([1, 1, 2]), Scalars.Zero), 2);
        var sums = decays.cumsum(1);                                                                         // (N, Q, K)
        Tensor FromStart(Tensor logarithms) => documents.Fresh is not { } fresh ? logarithms.exp()
            : logarithms.masked_fill(fresh.unsqueeze(-1), Scalars.MinusInfinity).exp();
        var fromStart = FromStart(sums);
        // (1 - removedWrites) u = removedKeys values + decayed removal^T state, for the part of the values and for the factor of the state
        var sides = cat([bmm(removedKeys, values), removals * FromStart(Earlier(sums))], -1);
        var solved = TorchOperator.Call("aten::linalg_solve_triangular", "", removedWrites.neg(), sides, false, true, true); // upper, left, unit
        var (lastKeys, lastWrites) = Halves(seen.select(1, size - 1), 1);
        return new(solved.narrow(-1, 0, values.size(2)), solved.narrow(-1, values.size(2), keys.size(2)), bmm(readKeys, values), readWrites,
            queries * fromStart, bmm(lastKeys.transpose(1, 2), values), lastWrites.transpose(1, 2), fromStart.select(1, size - 1).unsqueeze(-1));
    }

    // the key and, behind all keys, what token j writes when it removes, as token i sees them; 0 for pairs that do not see each other
    static Tensor Seen(Tensor decays, Tensor keys, Tensor writes, Tensor hidden)
    {
        long rows = keys.size(0), size = keys.size(1), keySize = keys.size(2);
        var order = Indices.Range(0, size, keys.device);
        var notEarlier = order.unsqueeze(1).le(order.unsqueeze(0)).unsqueeze(-1);                            // (Q, Q, 1): i <= j
        // the logarithm of the remainder at token i of what token j wrote, (N, Q, Q, K): a separate sum for each pair, without cancellation
        var between = decays.unsqueeze(2).expand(rows, size, size, keySize).masked_fill(notEarlier, Scalars.Zero).cumsum(1);
        var remaining = between.masked_fill(hidden.unsqueeze(-1), Scalars.MinusInfinity).exp();
        return (remaining.unsqueeze(2) * stack([keys, writes], 1).unsqueeze(1)).flatten(2, 3);
    }

    static (Tensor First, Tensor Second) Halves(Tensor tensor, int dimension)
    {
        var parts = tensor.chunk(2, dimension);
        return (parts[0], parts[1]);
    }

    // row i is row i + 1 of the tensor; the last is 0
    static Tensor Later(Tensor tensor) => cat([tensor.narrow(1, 1, tensor.size(1) - 1), zeros_like(tensor.narrow(1, 0, 1))], 1);

    // row i is row i - 1 of the tensor; the first is 0
    static Tensor Earlier(Tensor tensor) => cat([zeros_like(tensor.narrow(1, 0, 1)), tensor.narrow(1, 0, tensor.size(1) - 1)], 1);
}
