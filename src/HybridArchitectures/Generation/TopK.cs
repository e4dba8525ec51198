using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Keeps the tokens with the k largest scores, and those that tie with the k-th.</summary>
public sealed class TopK : LogitsProcessor
{
    readonly int count;

    /// <summary>Creates a filter.</summary>
    /// <param name="count">The number of tokens, at least 1. All tokens are kept if it exceeds the vocabulary.</param>
    public TopK(int count) => this.count = Require.AtLeast(count, 1, nameof(count));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        int kept = (int)Math.Min(count, scores.size(1));
        var minScore = scores.topk(kept, 1).values.narrow(1, kept - 1, 1);      // (rows, 1)
        return scores.masked_fill(scores.lt(minScore), Scalars.MinusInfinity);
    }
}
