using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Keeps the tokens that are at least p times as likely as the likeliest (arXiv 2407.01082).</summary>
public sealed class MinP : LogitsProcessor
{
    readonly Scalar fraction;

    /// <summary>A filter.</summary>
    /// <param name="fraction">0 to 1; 0 keeps all.</param>
    public MinP(double fraction) => this.fraction = Scalars.From(Bounds.ZeroToOne(fraction, nameof(fraction)));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        var probabilities = Probabilities(scores);
        var least = probabilities.amax([1], keepdim: true).mul(fraction);
        return scores.masked_fill(probabilities.lt(least), Scalars.MinusInfinity);
    }
}
