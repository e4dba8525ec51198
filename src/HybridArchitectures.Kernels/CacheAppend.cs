using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// The part of a decoding step before attention: turns the new queries and keys by their rotary angles and writes keys and values into the cache.
/// Positions
/// are computed from lengths on the device, so that nothing depends on numbers of the host.
/// </summary>
static class CacheAppend
{
    /// <summary>Writes the new tokens of each row into the cache; without gradient.</summary>
    /// <param name="query">Shape: (batch, length, heads, headSize), float32, bfloat16 or float64.</param>
    /// <param name="key">Shape: (batch, length, keyHeads, headSize), in the type of <paramref name="query"/>.</param>
    /// <param name="value">Shape: (batch, length, keyHeads, valueSize), in that type.</param>
    /// <param name="table">Cosines and sines, (positions, half) each, float32, of position p in line p; null without rotary positions.</param>
    /// <param name="lengths">Shape: (batch), int32: tokens of each row, the new ones included.</param>
    /// <param name="keys">Shape: (batch, slots, keyHeads, headSize): the cache, updated in place. A position beyond its slots is not kept.</param>
    /// <param name="values">Shape: (batch, slots, keyHeads, valueSize), likewise.</param>
    /// <param name="positions">Shape: (batch, slots), int64: the position that each slot holds, updated in place; null where nobody asks.</param>
    /// <param name="window">Slots that are used again in turn, after those of the sinks; 0 where slot p holds position p.</param>
    /// <param name="sinks">First positions that keep their slots.</param>
    /// <returns>The turned queries, in the current dispose scope.</returns>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, (Tensor Cosine, Tensor Sine)? table, Tensor lengths, Tensor keys, Tensor values,
        Tensor? positions = null, int window = 0, int sinks = 0)
    {
        using var noGrad = no_grad();
        bool served = query.dtype is ScalarType.Float32 or ScalarType.BFloat16 && Rotary.BackendFor(query) == KernelBackend.Cuda;
        if (served) return RotaryCuda.Append(query, key, value, table, lengths, keys, values, positions, window, sinks);
        using var scope = NewDisposeScope();
        long batch = query.size(0), length = query.size(1), slots = keys.size(1);
        var at = lengths.to(ScalarType.Int64).sub(Scalars.From(length)).unsqueeze(1).add(Indices.Range(0, length, query.device), Scalars.One);     // (B, L)
        if (table is { } angles)
        {
            Tensor Lines(Tensor of) => of.index_select(0, at.clamp(Scalars.Zero, Scalars.From(of.size(0) - 1)).flatten()).view(batch, length, -1);
            var (cosine, sine) = (Lines(angles.Cosine), Lines(angles.Sine));
            (query, key) = (Rotary.Forward(query, cosine, sine), Rotary.Forward(key, cosine, sine));
        }
        var slot = window == 0 ? at : where(at.lt(Scalars.From(sinks)), at, at.sub(Scalars.From(sinks)).remainder(Scalars.From(window)).add(Scalars.From(sinks), Scalars.One));
        var kept = at.ge(Scalars.Zero).logical_and(slot.lt(Scalars.From(slots)));
        // what is not kept is written where it stands already
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
