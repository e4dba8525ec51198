using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Excludes every token that would repeat a sequence of n tokens of the row.</summary>
public sealed class NoRepeatNgrams : LogitsProcessor
{
    readonly int length;

    /// <summary>Creates a rule.</summary>
    /// <param name="length">The number of tokens of a sequence, at least 1; 1 excludes every token of the row.</param>
    public NoRepeatNgrams(int length) => this.length = Require.AtLeast(length, 1, nameof(length));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        long vocabulary = scores.size(1);
        var banned = history.SelectMany((ids, row) => Repeating(ids).Select(id => row * vocabulary + Checked(id, vocabulary))).ToArray();
        if (banned.Length == 0) return scores;
        var indices = tensor(banned, ScalarType.Int64, device: scores.device);
        return scores.reshape(-1).index_fill(0, indices, Scalars.MinusInfinity).view(scores.size(0), vocabulary);
    }

    // the tokens that followed earlier occurrences of the last length - 1 tokens of the row
    IEnumerable<int> Repeating(IReadOnlyList<int> ids)
    {
        int context = length - 1;
        for (int start = 0; start + context < ids.Count; start++)
        {
            int matching = 0;
            while (matching < context && ids[start + matching] == ids[ids.Count - context + matching]) matching++;
            if (matching == context) yield return ids[start + context];
        }
    }
}
