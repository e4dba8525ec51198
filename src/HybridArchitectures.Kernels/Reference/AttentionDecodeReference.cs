using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the formula of <see cref="Operators.AttentionDecode"/> with all scores in memory, for any floating-point dtype and device.
/// </summary>
public static class AttentionDecodeReference
{
    /// <summary>Computes the operator.</summary>
    /// <inheritdoc cref="Operators.AttentionDecode.Forward"/>
    public static Tensor Forward(Tensor query, Tensor keys, Tensor values, Tensor lengths, double? scale = null, int? window = null, int sinks = 0,
        bool ring = false, double? softcap = null, Tensor? sinkLogits = null)
    {
        Require.Alive(query);
        Require.Alive(keys);
        Require.Alive(values);
        Require.Alive(lengths);
        using var scope = NewDisposeScope();
        long queries = query.size(1), heads = query.size(2), sets = keys.size(2);
        var positions = Positions(queries, keys.size(1), lengths, sinks, ring);
        var visible = AttentionReference.Visible(queries, keys.size(1), window, sinks, positions, query.device);
        var hidden = visible.logical_not().unsqueeze(1).unsqueeze(1);
        var q = Precision.Widen(query).unflatten(2, sets, heads / sets);                           // (B, Q, K, H/K, D)
        // values in unseen slots, even NaN, must not affect a result
        var absent = hidden.all(-2).squeeze(1).squeeze(1).unsqueeze(-1).unsqueeze(-1);             // (B, C, 1, 1)
        var (k, v) = (Precision.Widen(keys).masked_fill(absent, Scalars.Zero), Precision.Widen(values).masked_fill(absent, Scalars.Zero));
        var scores = einsum("bqkgd,bckd->bkgqc", q, k) * Scalars.From(scale ?? 1 / Math.Sqrt(query.size(3)));
        if (softcap is { } cap) scores = (scores / Scalars.From(cap)).tanh() * Scalars.From(cap);
        scores = scores.masked_fill(hidden, Scalars.From(-1e30));
        if (sinkLogits is not null)
        {
            var logits = sinkLogits.to(scores.dtype).reshape(1, sets, heads / sets, 1, 1);
            scores = cat([scores, logits.expand(query.size(0), sets, heads / sets, queries, 1)], -1);
        }
        var weights = scores.softmax(-1).narrow(-1, 0, keys.size(1)).masked_fill(hidden, Scalars.Zero);
        return einsum("bkgqc,bcke->bqkge", weights, v).flatten(2, 3).to(query.dtype).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>Returns the positions of queries and slots; empty slots have negative positions.</summary>
    internal static AttentionPositions Positions(long queries, long capacity, Tensor lengths, int sinks, bool ring)
    {
        using var scope = NewDisposeScope();
        var length = lengths.to(ScalarType.Int64).unsqueeze(-1);                                    // (B, 1)
        if (!ring) length = length.clamp_max(Scalars.From(capacity));
        var query = Indices.Range(-queries, queries, lengths.device).unsqueeze(0).add(length, Scalars.One);
        var slot = Indices.Range(0, capacity, lengths.device).unsqueeze(0).expand(lengths.size(0), capacity);
        var key = slot;
        if (ring)
        {
            // the last position up to length - 1 that is stored in the slot
            var first = Scalars.From((long)sinks);
            var last = length.sub(Scalars.One);
            var reused = last - (last - slot).remainder(Scalars.From(capacity - sinks));
            key = where(slot.lt(first), slot, reused.masked_fill(reused.lt(first), Scalars.MinusOne));
        }
        key = key.masked_fill(key.ge(length), Scalars.MinusOne);
        return new(query.MoveToOuterDisposeScope(), key.contiguous().MoveToOuterDisposeScope());
    }
}
