using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Makes the tokens of the row less probable: their positive scores are divided by the penalty, and the others are multiplied by it (arXiv
/// 1909.05858).
/// </summary>
public sealed class RepetitionPenalty : LogitsProcessor
{
    readonly Scalar penalty;

    /// <summary>Creates a rule.</summary>
    /// <param name="penalty">The penalty, positive and finite; 1 changes nothing, and less than 1 favours repetition.</param>
    public RepetitionPenalty(double penalty) => this.penalty = Scalars.From(Require.Positive(penalty, nameof(penalty)));

    /// <inheritdoc/>
    protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        long vocabulary = scores.size(1);
        // indices in the flattened scores, each once
        var seen = history.SelectMany((ids, row) => ids.Distinct().Select(id => row * vocabulary + Checked(id, vocabulary))).ToArray();
        if (seen.Length == 0) return scores;
        var indices = tensor(seen, ScalarType.Int64, device: scores.device);
        var flat = scores.reshape(-1);
        var before = flat.index_select(0, indices);
        var after = where(before.lt(Scalars.Zero), before.mul(penalty), Divided(before, penalty));
        return flat.scatter(0, indices, after).view(scores.size(0), vocabulary);
    }
}
