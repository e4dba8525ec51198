using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes the part of a decoding step before attention: rotates the new queries and keys and writes keys and values to the cache. Positions are
/// computed from lengths on the device, so that nothing depends on numbers of the host.
/// </summary>
static class CacheAppend
{
    /// <summary>Writes the new tokens of each row to the cache, without a gradient.</summary>
    /// <param name="query">Shape: (batch, length, heads, headSize), float32, bfloat16 or float64.</param>
    /// <param name="key">Shape: (batch, length, keyHeads, headSize), in the type of <paramref name="query"/>.</param>
    /// <param name="value">Shape: (batch, length, keyHeads, valueSize), in that type.</param>
    /// <param name="table">Cosines and sines, (positions, half) each, float32, with position p in row p; null without rotary positions.</param>
    /// <param name="lengths">Shape: (batch), int32: the tokens of each row, including the new ones.</param>
    /// <param name="keys">
    /// Shape: (batch, slots, keyHeads, headSize): the cache, which is updated in place. A position beyond its slots is not stored.
    /// </param>
    /// <param name="values">Shape: (batch, slots, keyHeads, valueSize): the cache, which is updated in place.</param>
    /// <param name="positions">Shape: (batch, slots), int64: the position in each slot, updated in place; null if it is not needed.</param>
    /// <param name="window">The number of slots that are reused in turn, after those of the sinks; 0 if slot p contains position p.</param>
    /// <param name="sinks">The number of first positions that keep their slots.</param>
    /// <returns>The rotated queries, in the current dispose scope.</returns>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, (Tensor Cosine, Tensor Sine)? table, Tensor lengths, Tensor keys,
        Tensor values,
        Tensor? positions = null, int window = 0, int sinks = 0)
    {
        using var noGrad = no_grad();
        bool served = query.dtype is ScalarType.Float32 or ScalarType.BFloat16 && Rotary.BackendFor(query) == KernelBackend.Cuda;
        if (served) return RotaryCuda.Append(query, key, value, table, lengths, keys, values, positions, window, sinks);
        using var scope = NewDisposeScope();
        long batch = query.size(0), length = query.size(1), slots = keys.size(1);
        // (B, L)
        var at = lengths.to(ScalarType.Int64).sub(Scalars.From(length)).unsqueeze(1).add(Indices.Range(0, length, query.device), Scalars.One);
        if (table is { } angles)
        {
            Tensor Lines(Tensor of) => of.index_select(0, at.clamp(Scalars.Zero, Scalars.From(of.size(0) - 1)).flatten()).view(batch, length, -1);
            var (cosine, sine) = (Lines(angles.Cosine), Lines(angles.Sine));
            (query, key) = (Rotary.Forward(query, cosine, sine), Rotary.Forward(key, cosine, sine));
        }
        var slot = window == 0 ? at : where(
            at.lt(Scalars.From(sinks)), at, at.sub(Scalars.From(sinks)).remainder(Scalars.From(window)).add(Scalars.From(sinks), Scalars.One));
        var kept = at.ge(Scalars.Zero).logical_and(slot.lt(Scalars.From(slots)));
        // a token that is not stored writes the value that the slot already has
        slot = slot.clamp(Scalars.Zero, Scalars.From(slots - 1));
        var rows = Indices.Range(0, batch, query.device).unsqueeze(1).expand(batch, length);
        void Write(Tensor cache, Tensor added)
        {
            var index = new[] { TensorIndex.Tensor(rows), TensorIndex.Tensor(slot) };
            var mask = kept;
            while (mask.dim() < added.dim()) mask = mask.unsqueeze(-1);
            cache.index_put_(where(mask, added, cache.index(index)), index);
        }
        Write(keys, key);
        Write(values, value);
        if (positions is not null) Write(positions, at);
        return query.alias().MoveToOuterDisposeScope();
    }
}
