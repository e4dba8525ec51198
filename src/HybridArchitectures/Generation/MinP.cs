using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Keeps the tokens with at least a fraction of the probability of the most probable token (arXiv 2407.01082).</summary>
public sealed class MinP : LogitsProcessor
{
    readonly Scalar fraction;

    /// <summary>Creates a filter.</summary>
    /// <param name="fraction">The fraction, from 0 to 1; 0 keeps all tokens.</param>
    public MinP(double fraction) => this.fraction = Scalars.From(Require.ZeroToOne(fraction, nameof(fraction)));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        var probabilities = Probabilities(scores);
        var minProbability = probabilities.amax([1], keepdim: true).mul(fraction);
        return scores.masked_fill(probabilities.lt(minProbability), Scalars.MinusInfinity);
    }
}
