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
    public static (Tensor Output, Tensor FinalState) Forward(DeltaRuleInputs inputs)
    {
        using var scope = NewDisposeScope();
        var divided = new ChunkedHeads(inputs);
        var all = Prepare(divided.DivideGroups(inputs.Query), divided.DivideGroups(inputs.Key), divided.Divide(inputs.Value),
            divided.Divide(inputs.Decay), divided.Divide(inputs.Strength!).unsqueeze(-1), divided.Documents());
        var (outputs, state) = ChunkedGatedDeltaRule.Recur(divided, all);
        return divided.Join(outputs, state);
    }

    static DeltaRuleChunks Prepare(Tensor queries, Tensor keys, Tensor values, Tensor decays, Tensor strengths, ChunkDocuments documents)
    {
        long size = keys.size(1), keySize = keys.size(2), valueSize = values.size(2);
        var order = Indices.Range(0, size, keys.device);
        var notEarlier = order.unsqueeze(1).le(order.unsqueeze(0));                                          // (Q, Q): i <= j
        var seen = keys.unsqueeze(1) * documents.Remaining(decays);                                          // (N, Q, Q, K)
        var both = stack([keys * strengths, queries], -1).flatten(0, 1);                                     // (N Q, K, 2)
        var products = bmm(seen.flatten(0, 1), both).unflatten(0, -1, size);                                 // (N, Q, Q, 2)
        var corrections = products.select(-1, 0).masked_fill(notEarlier, Scalars.Zero);
        var fromStart = documents.FromStart(decays.cumsum(1));                                               // (N, Q, K)
        // (1 + corrections) written = strength (value - decayed key^T state), for the part of the values and for the part of the state
        var sides = cat([values * strengths, keys * fromStart * strengths], -1);
        var solved = TorchOperator.Call("aten::linalg_solve_triangular", "", corrections, sides, false, true, true); // upper, left, unit triangular
        return new(solved.narrow(-1, 0, valueSize), solved.narrow(-1, valueSize, keySize), products.select(-1, 1), queries * fromStart,
            seen.select(1, size - 1).transpose(1, 2), fromStart.select(1, size - 1).unsqueeze(-1));
    }
}
