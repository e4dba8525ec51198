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
        var divided = new ChunkedHeads(inputs);
        var removals = divided.Divide(inputs.Removal);
        var all = Prepare(new(divided.Divide(inputs.Query), divided.Divide(inputs.Key), divided.Divide(inputs.Value), divided.Divide(inputs.Decay),
            removals, (divided.Divide(inputs.Rate) * removals).neg()), divided.Documents());
        var (outputs, state) = Recur(divided, all);
        return divided.Join(outputs, state);
    }

    // computes the outputs of one chunk after another, and the state after the last
    static (Tensor[] Outputs, Tensor State) Recur(ChunkedHeads divided, Chunks all)
    {
        var (removed, removing, read) = (divided.PerChunk(all.Removed), divided.PerChunk(all.Removing), divided.PerChunk(all.Read));
        var (scores, reading, written) = (divided.PerChunk(all.Scores), divided.PerChunk(all.Reading), divided.PerChunk(all.Written));
        var (writing, kept) = (divided.PerChunk(all.Writing), divided.PerChunk(all.Kept));
        var state = divided.InitialState();
        var outputs = new Tensor[divided.Count];
        for (int chunk = 0; chunk < outputs.Length; chunk++)
        {
            var u = removed[chunk].add(bmm(removing[chunk], state), Scalars.One);
            outputs[chunk] = read[chunk].add(bmm(scores[chunk], u), Scalars.One).add(bmm(reading[chunk], state), Scalars.One);
            state = (state * kept[chunk]).add(written[chunk], Scalars.One).add(bmm(writing[chunk], u), Scalars.One);
        }
        return (outputs, state);
    }

    static Chunks Prepare(Tokens tokens, ChunkDocuments documents)
    {
        var (queries, keys, values, decays, removals, writes) = tokens;
        long rows = keys.size(0), size = keys.size(1);
        var seen = Seen(keys, writes, documents.Remaining(decays));                                          // (N, Q, 2 Q, K)
        // the query of token i, and the removal of token i + 1, which reads the state after token i
        var both = stack([queries, Later(removals)], -1).flatten(0, 1);                                      // (N Q, K, 2)
        var products = bmm(seen.flatten(0, 1), both).unflatten(0, rows, size);                               // (N, Q, 2 Q, 2)
        var (readKeys, readWrites) = Halves(products.select(-1, 0), 2);
        var (removedKeys, removedWrites) = Halves(Earlier(products.select(-1, 1)).masked_fill(documents.Hidden.tile([1, 1, 2]), Scalars.Zero), 2);
        var sums = decays.cumsum(1);                                                                         // (N, Q, K)
        var fromStart = documents.FromStart(sums);
        // (1 - removedWrites) u = removedKeys values + decayed removal^T state, for the part of the values and for the factor of the state
        var sides = cat([bmm(removedKeys, values), removals * documents.FromStart(Earlier(sums))], -1);
        var solved = TorchOperator.Call("aten::linalg_solve_triangular", "", removedWrites.neg(), sides, false, true, true); // upper, left, unit
        var (lastKeys, lastWrites) = Halves(seen.select(1, size - 1), 1);
        return new(solved.narrow(-1, 0, values.size(2)), solved.narrow(-1, values.size(2), keys.size(2)), bmm(readKeys, values), readWrites,
            queries * fromStart, bmm(lastKeys.transpose(1, 2), values), lastWrites.transpose(1, 2), fromStart.select(1, size - 1).unsqueeze(-1));
    }

    // the key and, behind all keys, what token j writes when it removes, as token i sees them; 0 for pairs that do not see each other
    static Tensor Seen(Tensor keys, Tensor writes, Tensor remaining) =>
        (remaining.unsqueeze(2) * stack([keys, writes], 1).unsqueeze(1)).flatten(2, 3);

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
