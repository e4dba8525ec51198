using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>
/// Computes the attention of chosen queries on a span of keys. Only the scores of these queries are computed, one key/value head at a time, so memory
/// is (heads per key/value head) x queries x keys.
/// </summary>
static class AttentionMass
{
    /// <summary>Returns, for each query head and query, the mass on the span, and whether the most attended key is in it.</summary>
    /// <param name="query">(1, queries, heads, head size).</param>
    /// <param name="key">(1, keys, key/value heads, head size).</param>
    /// <param name="spec">Scale, window and sinks.</param>
    /// <param name="queryPositions">The position of each query.</param>
    /// <param name="keyPositions">The position of each key, (1, keys) int64; null if key i is at position i.</param>
    /// <param name="start">The first position of the span.</param>
    /// <param name="length">The number of positions of the span.</param>
    public static (double[,] Mass, bool[,] IsTop) Measure(Tensor query, Tensor key, AttentionSpec spec, long[] queryPositions, Tensor? keyPositions,
        int start, int length)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        int heads = (int)query.size(2), sets = (int)key.size(2), group = heads / sets;
        var queries = tensor(queryPositions, [1, queryPositions.Length], device: query.device);
        var keys = keyPositions ?? Indices.Range(0, key.size(1), key.device).unsqueeze(0);
        var visible = AttentionReference.Visible(queryPositions.Length, key.size(1), spec.Window, spec.Sinks, new(queries, keys), query.device);
        var isNeedle = keys.ge(Scalars.From(start)).logical_and(keys.lt(Scalars.From(start + length))).flatten();
        var scale = Scalars.From(spec.Scale ?? 1 / Math.Sqrt(spec.HeadSize));
        var (mass, top) = (new double[heads, queryPositions.Length], new bool[heads, queryPositions.Length]);
        for (int set = 0; set < sets; set++)
        {
            using var inner = NewDisposeScope();
            var q = query[0].narrow(1, set * group, group).permute(1, 0, 2).to(ScalarType.Float32);            // (G, R, D)
            var k = key[0].select(1, set).to(ScalarType.Float32).t().unsqueeze(0).expand(group, -1, -1);        // (G, D, S)
            var scores = q.bmm(k).mul(scale).masked_fill(visible.logical_not(), Scalars.MinusInfinity);
            var onNeedle = TensorMemory.ToArray<float>(
                scores.softmax(-1).masked_fill(isNeedle.logical_not(), Scalars.Zero).sum(-1).cpu().contiguous());
            var isOnTop = TensorMemory.ToArray<long>(isNeedle.to(ScalarType.Int64).index_select(0, scores.argmax(-1).flatten()).cpu().contiguous());
            for (int i = 0; i < onNeedle.Length; i++)
            {
                int head = set * group + i / queryPositions.Length, row = i % queryPositions.Length;
                (mass[head, row], top[head, row]) = (onNeedle[i], isOnTop[i] == 1);
            }
        }
        return (mass, top);
    }
}
