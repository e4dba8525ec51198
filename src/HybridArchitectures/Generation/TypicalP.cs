using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Keeps the tokens whose information content is nearest to the expected one (the entropy), and which together reach a probability (locally typical
/// sampling, arXiv 2202.00666).
/// </summary>
public sealed class TypicalP : LogitsProcessor
{
    readonly Scalar mass;
    readonly bool keepsAll;

    /// <summary>Creates a filter.</summary>
    /// <param name="mass">The probability, above 0 and at most 1; 1 keeps all tokens.</param>
    public TypicalP(double mass)
    {
        this.mass = Scalars.From(Require.Fraction(mass, nameof(mass)));
        keepsAll = mass == 1;
    }

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        if (keepsAll) return scores;
        // in float64 and rounded once, so that every device has the same order
        var logarithms = scores.to(ScalarType.Float64).log_softmax(1);
        var summands = logarithms.mul(logarithms.exp());
        // an excluded token adds 0 to the entropy, not 0 times infinity
        var entropy = summands.masked_fill(summands.isnan(), Scalars.Zero).sum(1, keepdim: true).neg();
        var distance = logarithms.neg().sub(entropy).abs().to(ScalarType.Float32);
        var (sorted, order) = distance.sort(1, descending: false, stable: true);
        var reached = Cumulated(Probabilities(scores.gather(1, order))).lt(mass).sum(1, keepdim: true);      // (rows, 1): index of the last one kept
        var last = reached.clamp_max(Scalars.From(scores.size(1) - 1));
        var drop = sorted.gt(sorted.gather(1, last));
        return scores.masked_fill(drop.scatter(1, order, drop), Scalars.MinusInfinity);
    }
}
