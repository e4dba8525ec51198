using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the formula of <see cref="Operators.FusedAttention"/> with all scores in memory, for any floating-point dtype and device, with
/// libtorch's gradients.
/// </summary>
public static class AttentionReference
{
    /// <summary>Computes the operator.</summary>
    /// <inheritdoc cref="Operators.FusedAttention.Forward"/>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, double? scale = null, int? window = null, int sinks = 0,
        AttentionPositions? positions = null, double? softcap = null, Tensor? sinkLogits = null)
    {
        Require.Alive(query);
        Require.Alive(key);
        Require.Alive(value);
        using var scope = NewDisposeScope();
        long heads = query.size(2), sets = key.size(2);
        var q = Precision.Widen(query).unflatten(2, sets, heads / sets);                          // (B, L, K, H/K, D)
        var scores = einsum("blkgd,bskd->bkgls", q, Precision.Widen(key)) * Scalars.From(scale ?? 1 / Math.Sqrt(query.size(3)));
        if (softcap is { } cap) scores = (scores / Scalars.From(cap)).tanh() * Scalars.From(cap);
        var hidden = Visible(query.size(1), key.size(1), window, sinks, positions, query.device).logical_not().unsqueeze(1).unsqueeze(1);
        // finite, so that the result of a query without keys is a mean, which the second fill sets to 0, and not NaN
        scores = scores.masked_fill(hidden, Scalars.From(-1e30));
        if (sinkLogits is not null)
        {
            var logits = sinkLogits.to(scores.dtype).reshape(1, sets, heads / sets, 1, 1);
            scores = cat([scores, logits.expand(scores.size(0), sets, heads / sets, scores.size(3), 1)], -1);
        }
        var weights = scores.softmax(-1).narrow(-1, 0, key.size(1)).masked_fill(hidden, Scalars.Zero);
        var output = einsum("bkgls,bske->blkge", weights, Precision.Widen(value)).flatten(2, 3);  // (B, L, H, E)
        return output.to(query.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>Returns which keys each query sees: bool, shape (1 or B, L, S).</summary>
    public static Tensor Visible(long queries, long keys, int? window, int sinks, AttentionPositions? positions, Device device)
    {
        using var scope = NewDisposeScope();
        var query = (positions?.Query ?? Indices.Range(keys - queries, queries, device).unsqueeze(0)).unsqueeze(-1);
        var key = (positions?.Key ?? Indices.Range(0, keys, device).unsqueeze(0)).unsqueeze(-2);
        var visible = key.le(query).logical_and(key.ge(Scalars.Zero));
        if (window is { } w) visible = visible.logical_and((query - key).lt(Scalars.From(w)).logical_or(key.lt(Scalars.From(sinks))));
        if (positions is { QueryDocuments: { } queryDocuments, KeyDocuments: { } keyDocuments })
            visible = visible.logical_and(queryDocuments.unsqueeze(-1).eq(keyDocuments.unsqueeze(-2)));
        return visible.MoveToOuterDisposeScope();
    }
}
