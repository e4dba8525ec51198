using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Represents a rule that changes the scores of the next token before the selection. Rules are applied one after another. An excluded token has the
/// score minus infinity.
/// </summary>
public abstract class LogitsProcessor
{
    /// <summary>Returns changed scores.</summary>
    /// <param name="scores">(rows, vocabulary size) float32, on any device; not changed.</param>
    /// <param name="history">The tokens of each row, including the prompt.</param>
    /// <returns>(rows, vocabulary size) float32 on the same device, in the dispose scope of the caller.</returns>
    /// <exception cref="ArgumentException">
    /// The scores have another shape or type, or there is not one history per row, or a history contains an id outside the vocabulary.
    /// </exception>
    /// <exception cref="InvalidOperationException">The rule returns scores of another shape, type or device.</exception>
    public Tensor Apply(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history)
    {
        Require.Alive(scores);
        Require.Items(history);
        if (scores.dim() != 2 || scores.size(1) == 0)
            throw Require.Unfit(nameof(scores), $"scores is [{string.Join(", ", scores.shape)}]", "(rows, vocabulary)");
        if (scores.dtype != ScalarType.Float32) throw Require.Refusal(nameof(scores), scores.dtype, "Float32");
        if (history.Count != scores.size(0))
            throw Require.Unfit(nameof(history), $"history has {history.Count} rows", $"{scores.size(0)}, as scores has");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var changed = Change(scores, history);
        RequireScores(changed, scores);
        return (ReferenceEquals(changed, scores) ? scores.alias() : changed).MoveToOuterDisposeScope();
    }

    void RequireScores(Tensor? changed, Tensor scores)
    {
        if (ReferenceEquals(changed, scores)) return;
        if (changed is null) throw new InvalidOperationException($"{GetType().Name} returned null; expected scores.");
        if (changed.dim() == 2 && changed.size(0) == scores.size(0) && changed.size(1) == scores.size(1) && changed.dtype == scores.dtype
            && changed.device_type == scores.device_type) return;
        throw new InvalidOperationException($"{GetType().Name} returned {Described(changed)}; expected {Described(scores)}, as it was given.");

        static string Described(Tensor tensor) => $"[{string.Join(", ", tensor.shape)}] {tensor.dtype} on {tensor.device}";
    }

    /// <summary>Changes the scores for <see cref="Apply"/>, with checked arguments, inside a dispose scope and without gradients.</summary>
    protected abstract Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history);

    /// <summary>
    /// Divides with the same rounding on every device. With a plain number, libtorch multiplies by its reciprocal on a GPU, which rounds twice.
    /// </summary>
    private protected static Tensor Divided(Tensor scores, Scalar by) =>
        scores.device_type == DeviceType.CPU ? scores.div(by) : scores.div(full([1], by, scores.dtype, scores.device));

    /// <summary>
    /// Returns the probabilities of scores, float32. They are computed in float64 and rounded once, so that different devices give the same result.
    /// </summary>
    private protected static Tensor Probabilities(Tensor scores) => scores.to(ScalarType.Float64).softmax(1).to(ScalarType.Float32);

    /// <summary>
    /// Returns the cumulative sums of each row, float32. They are summed in float64 and rounded once, so that the order of summation has no effect.
    /// </summary>
    private protected static Tensor Cumulated(Tensor probabilities) => probabilities.to(ScalarType.Float64).cumsum(1).to(ScalarType.Float32);

    /// <summary>Returns an id of the vocabulary, or throws an exception for another id.</summary>
    private protected static long Checked(int id, long vocabulary) =>
        id >= 0 && id < vocabulary ? id
            : throw Require.Holding("history", id, $"0 to {vocabulary - 1}, the ids of the vocabulary");
}
