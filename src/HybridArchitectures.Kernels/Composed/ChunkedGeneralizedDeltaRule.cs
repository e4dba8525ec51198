using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes the generalized delta rule in chunks, with libtorch's batched products and gradients, for any device and dtype. Let u[t] be
/// removal[t]^T S[t-1], which token t removes. Every state is a sum of decayed keys and removals of earlier tokens, so the u of a chunk follow from a
/// unit triangular system. A decay per channel cannot be taken out of a product of keys, so the decayed keys of all pairs of a chunk are a table.
/// If decays have a minimum, they are divided between the two factors of a product instead, which float32 can represent for a short chunk.
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

    /// <summary>Contains what tokens see of earlier tokens of their chunk, and what remains of those at its end.</summary>
    /// <param name="ReadKeys">The products of queries with the keys that they see, (N, Q, Q).</param>
    /// <param name="ReadWrites">The products of queries with the writes of removals that they see, (N, Q, Q).</param>
    /// <param name="RemovedKeys">The products of removals with the keys that they see, (N, Q, Q).</param>
    /// <param name="RemovedWrites">The products of removals with the writes of removals that they see, (N, Q, Q).</param>
    /// <param name="LastKeys">The keys at the end of the chunk, (N, Q, K).</param>
    /// <param name="LastWrites">The writes of removals at the end of the chunk, (N, Q, K).</param>
    readonly record struct Pairs(
        Tensor ReadKeys, Tensor ReadWrites, Tensor RemovedKeys, Tensor RemovedWrites, Tensor LastKeys, Tensor LastWrites);

    // the logarithm of the largest factor of products: products of such factors stay far below the largest number of float32
    const double MaxLogFactor = 40;

    /// <summary>Contains the inputs in chunks, (N, Q, ...). <paramref name="Writes"/> is -rate x removal.</summary>
    readonly record struct Tokens(Tensor Queries, Tensor Keys, Tensor Values, Tensor Decays, Tensor Removals, Tensor Writes);

    public static (Tensor Output, Tensor FinalState) Forward(GeneralizedDeltaInputs inputs)
    {
        using var scope = NewDisposeScope();
        var divided = new ChunkedHeads(inputs);
        var removals = divided.Divide(inputs.Removal);
        var all = Prepare(new(divided.Divide(inputs.Query), divided.Divide(inputs.Key), divided.Divide(inputs.Value), divided.Divide(inputs.Decay),
            removals, (divided.Divide(inputs.Rate) * removals).neg()), divided.Documents(), HasFactors(inputs));
        var (outputs, state) = Recur(divided, all);
        return divided.Join(outputs, state);
    }

    static bool HasFactors(GeneralizedDeltaInputs inputs) => inputs.MinDecay * inputs.ChunkSize >= -MaxLogFactor;

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

    static Chunks Prepare(Tokens tokens, ChunkDocuments documents, bool hasFactors)
    {
        var (queries, keys, values, decays, removals, _) = tokens;
        long size = keys.size(1);
        var sums = decays.cumsum(1);                                                                         // (N, Q, K)
        var fromStart = documents.FromStart(sums);
        var pairs = !hasFactors ? PairsByTable(tokens, documents)
            : PairsByFactors(tokens, sums, documents.Fresh is null ? fromStart : sums.exp(), documents);
        // (1 - removedWrites) u = removedKeys values + decayed removal^T state, for the part of the values and for the factor of the state
        var sides = cat([bmm(pairs.RemovedKeys, values), removals * documents.FromStart(Earlier(sums))], -1);
        var solved = TorchOperator.Call(
            "aten::linalg_solve_triangular", "", pairs.RemovedWrites.neg(), sides, false, true, true);       // upper, left, unit
        return new(solved.narrow(-1, 0, values.size(2)), solved.narrow(-1, values.size(2), keys.size(2)), bmm(pairs.ReadKeys, values),
            pairs.ReadWrites, queries * fromStart, bmm(pairs.LastKeys.transpose(1, 2), values), pairs.LastWrites.transpose(1, 2),
            fromStart.select(1, size - 1).unsqueeze(-1));
    }

    // for any decays: a table of the keys of each pair
    static Pairs PairsByTable(Tokens tokens, ChunkDocuments documents)
    {
        var (queries, keys, _, decays, removals, writes) = tokens;
        long rows = keys.size(0), size = keys.size(1);
        var seen = Seen(keys, writes, documents.Remaining(decays));                                          // (N, Q, 2 Q, K)
        // the query of token i, and the removal of token i + 1, which reads the state after token i
        var both = stack([queries, Later(removals)], -1).flatten(0, 1);                                      // (N Q, K, 2)
        var products = bmm(seen.flatten(0, 1), both).unflatten(0, rows, size);                               // (N, Q, 2 Q, 2)
        var (lastKeys, lastWrites) = Halves(seen.select(1, size - 1), 1);
        return Joined(products.select(-1, 0), products.select(-1, 1), documents, lastKeys, lastWrites);
    }

    // for decays with a minimum: a token is multiplied by what remains since the start of the chunk, and what it sees is divided by it
    static Pairs PairsByFactors(Tokens tokens, Tensor sums, Tensor remaining, ChunkDocuments documents)
    {
        var (queries, keys, _, _, removals, writes) = tokens;
        long size = keys.size(1);
        var grown = sums.neg().exp();
        var later = Later(removals);
        var seeing = cat([queries * remaining, later * remaining], 1);                                       // (N, 2 Q, K)
        var seen = cat([keys * grown, writes * grown], 1);
        var products = bmm(seeing, seen.transpose(1, 2)).masked_fill(NotEarlier(documents.Hidden).tile([1, 2, 2]), Scalars.Zero);
        // what a token sees of itself has not decayed: without factors, the gradient of its decay is exactly 0
        var own = stack([queries, later], 1).unsqueeze(2).mul(stack([keys, writes], 1).unsqueeze(1)).sum(-1);       // (N, 2, 2, Q)
        var (read, removed) = Halves(products.add(diag_embed(own).transpose(2, 3).flatten(3, 4).flatten(1, 2), Scalars.One), 1);
        var last = sums.narrow(1, size - 1, 1).sub(sums)
            .masked_fill(documents.Hidden.select(1, size - 1).unsqueeze(-1), Scalars.MinusInfinity).exp();   // (N, Q, K)
        return Joined(read, removed, documents, keys * last, writes * last);
    }

    static Tensor NotEarlier(Tensor hidden)
    {
        var order = Indices.Range(0, hidden.size(-1), hidden.device);
        return hidden.logical_or(order.unsqueeze(1).eq(order.unsqueeze(0)));
    }

    // from what the query of token i and the removal of token i + 1 see after token i, (N, Q, 2 Q)
    static Pairs Joined(Tensor read, Tensor removed, ChunkDocuments documents, Tensor lastKeys, Tensor lastWrites)
    {
        var (readKeys, readWrites) = Halves(read, 2);
        var (removedKeys, removedWrites) = Halves(Earlier(removed).masked_fill(documents.Hidden.tile([1, 1, 2]), Scalars.Zero), 2);
        return new(readKeys, readWrites, removedKeys, removedWrites, lastKeys, lastWrites);
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
