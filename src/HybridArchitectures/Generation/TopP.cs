using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Keeps the most probable tokens whose probabilities together reach p (nucleus sampling, arXiv 1904.09751), and at least one. Of tokens that tie at
/// the limit, those with the largest ids stay, as in transformers on a CPU. Every device keeps the same tokens of the same scores.
/// </summary>
public sealed class TopP : LogitsProcessor
{
    readonly Scalar dropped;
    readonly bool keepsAll;

    /// <summary>Creates a filter.</summary>
    /// <param name="probability">The probability, above 0 and at most 1; 1 keeps all tokens.</param>
    public TopP(double probability)
    {
        dropped = Scalars.From(1 - Require.Fraction(probability, nameof(probability)));
        keepsAll = probability == 1;
    }

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        if (keepsAll) return scores;
        var (sorted, order) = scores.sort(1, descending: false, stable: true);
        var drop = Cumulated(Probabilities(sorted)).le(dropped);
        drop.narrow(1, scores.size(1) - 1, 1).fill_(Scalars.Zero);      // the most probable token stays
        return scores.masked_fill(drop.scatter(1, order, drop), Scalars.MinusInfinity);
    }
}
