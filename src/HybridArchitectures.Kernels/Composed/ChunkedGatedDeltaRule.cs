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
        var divided = new ChunkedHeads(inputs);
        var all = Prepare(divided.DivideGroups(inputs.Query), divided.DivideGroups(inputs.Key), divided.Divide(inputs.Value),
            divided.Divide(inputs.Decay), divided.Divide(inputs.Strength!).unsqueeze(-1), divided.Documents());
        var (outputs, state) = Recur(divided, all);
        return divided.Join(outputs, state);
    }

    static DeltaRuleChunks Prepare(Tensor queries, Tensor keys, Tensor values, Tensor decays, Tensor strengths, ChunkDocuments documents)
    {
        long size = keys.size(1), keySize = keys.size(2), valueSize = values.size(2);
        var (later, remaining, fromStart) = Decays(decays, documents);
        // (1 + A) written = strength (value - decayed key^T state), A strictly lower triangular: solved for the part of the values and for the part
        // of the state
        var keysTransposed = keys.transpose(1, 2);
        var corrections = (bmm(keys * strengths, keysTransposed) * remaining).masked_fill(later.logical_not(), Scalars.Zero);
        var sides = cat([values * strengths, keys * (strengths * fromStart)], -1);
        var solved = TorchOperator.Call("aten::linalg_solve_triangular", "", corrections, sides, false, true, true); // upper, left, unit triangular
        return new(solved.narrow(-1, 0, valueSize), solved.narrow(-1, valueSize, keySize), bmm(queries, keysTransposed) * remaining,
            queries * fromStart, (keys * remaining.select(1, size - 1).unsqueeze(-1)).transpose(1, 2), fromStart.narrow(1, size - 1, 1));
    }

    /// <summary>Computes the outputs of one chunk after another, and the state after the last.</summary>
    public static (Tensor[] Outputs, Tensor State) Recur(ChunkedHeads divided, DeltaRuleChunks chunks)
    {
        var (written, erased, scores) = (divided.PerChunk(chunks.Written), divided.PerChunk(chunks.Erased), divided.PerChunk(chunks.Scores));
        var (reading, writing, kept) = (divided.PerChunk(chunks.Reading), divided.PerChunk(chunks.Writing), divided.PerChunk(chunks.Kept));
        var state = divided.InitialState();
        var outputs = new Tensor[divided.Count];
        for (int chunk = 0; chunk < outputs.Length; chunk++)
        {
            var corrected = written[chunk] - bmm(erased[chunk], state);
            outputs[chunk] = bmm(scores[chunk], corrected).add(bmm(reading[chunk], state), Scalars.One);
            state = (state * kept[chunk]).add(bmm(writing[chunk], corrected), Scalars.One);
        }
        return (outputs, state);
    }

    // which tokens are later than which others; the decays between the tokens of a chunk, shape (N, Q, Q), 1 on the diagonal, and those since its
    // start, shape (N, Q, 1)
    static (Tensor Later, Tensor Between, Tensor FromStart) Decays(Tensor logarithms, ChunkDocuments documents)
    {
        long size = logarithms.size(1);
        // between[i, j]: the logarithm of the remainder at token i of what token j wrote, a separate sum for each pair, without cancellation
        var order = Indices.Range(0, size, logarithms.device);
        var later = order.unsqueeze(1).gt(order.unsqueeze(0));                                               // (Q, Q): i > j
        var between = logarithms.unsqueeze(-1).expand(logarithms.size(0), size, size).masked_fill(later.logical_not(), Scalars.Zero).cumsum(-2);
        var decays = between.masked_fill(documents.Hidden, Scalars.MinusInfinity).exp();                     // (N, Q, Q), 1 on the diagonal
        return (later, decays, documents.FromStart(logarithms.cumsum(-1).unsqueeze(-1)));
    }
}
