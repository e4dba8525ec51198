using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Keeps the tokens with at least a given probability, and always the most probable one (arXiv 2210.15191).</summary>
public sealed class EpsilonCutoff : LogitsProcessor
{
    readonly Scalar epsilon;

    /// <summary>Creates a filter.</summary>
    /// <param name="epsilon">The probability, from 0 to 1; 0 keeps all tokens.</param>
    public EpsilonCutoff(double epsilon) => this.epsilon = Scalars.From(Require.ZeroToOne(epsilon, nameof(epsilon)));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        var drop = Probabilities(scores).lt(epsilon).logical_and(scores.lt(scores.amax([1], keepdim: true)));
        return scores.masked_fill(drop, Scalars.MinusInfinity);
    }
}
