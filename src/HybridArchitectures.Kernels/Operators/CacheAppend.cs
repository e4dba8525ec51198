using HybridArchitectures.Kernels.Cpu;
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
    /// <param name="target">The cache.</param>
    /// <returns>The rotated queries, in the current dispose scope.</returns>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, CacheTarget target)
    {
        using var noGrad = no_grad();
        var backend = query.dtype is ScalarType.Float32 or ScalarType.BFloat16 ? Rotary.BackendFor(query) : KernelBackend.Reference;
        if (backend == KernelBackend.Cuda) return RotaryCuda.Append(query, key, value, target);
        if (backend == KernelBackend.Cpu && CacheAppendCpu.Serves(target)) return CacheAppendCpu.Forward(query, key, value, target);
        using var scope = NewDisposeScope();
        long batch = query.size(0), length = query.size(1);
        // (B, L)
        var at = target.Lengths.to(ScalarType.Int64).sub(Scalars.From(length)).unsqueeze(1)
            .add(Indices.Range(0, length, query.device), Scalars.One);
        if (target.Table is { } table)
        {
            Tensor Rows(Tensor all) => all.index_select(0, at.clamp(Scalars.Zero, Scalars.From(all.size(0) - 1)).flatten()).view(batch, length, -1);
            var (cosine, sine) = (Rows(table.Cosine), Rows(table.Sine));
            (query, key) = (Rotary.Forward(query, cosine, sine), Rotary.Forward(key, cosine, sine));
        }
        Store(key, value, at, target);
        return query.alias().MoveToOuterDisposeScope();
    }

    // positions: (batch, length) int64
    static void Store(Tensor key, Tensor value, Tensor positions, CacheTarget target)
    {
        var (sinks, window, slots) = (Scalars.From((long)target.Sinks), Scalars.From((long)target.Window), target.Keys.size(1));
        var slot = target.Window == 0 ? positions
            : where(positions.lt(sinks), positions, positions.sub(sinks).remainder(window).add(sinks, Scalars.One));
        var isStored = positions.ge(Scalars.Zero).logical_and(slot.lt(Scalars.From(slots)));
        // a token that is not stored writes the value that the slot already has
        slot = slot.clamp(Scalars.Zero, Scalars.From(slots - 1));
        var rows = Indices.Range(0, positions.size(0), key.device).unsqueeze(1).expand(positions.size(0), positions.size(1));
        void Write(Tensor cache, Tensor added)
        {
            var index = new[] { TensorIndex.Tensor(rows), TensorIndex.Tensor(slot) };
            var mask = isStored;
            while (mask.dim() < added.dim()) mask = mask.unsqueeze(-1);
            cache.index_put_(where(mask, added, cache.index(index)), index);
        }
        Write(target.Keys, key);
        Write(target.Values, value);
        if (target.Positions is not null) Write(target.Positions, positions);
    }
}
