using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.HeldOut;

/// <summary>Contains the held-out loss of all tokens and by position.</summary>
/// <param name="ContextLength">The number of tokens per window.</param>
/// <param name="Loss">The mean cross entropy of all tokens in nats per token. The standard error is over windows.</param>
/// <param name="BitsPerByte">The loss in bits per byte of text, or null if the data does not record its bytes.</param>
/// <param name="Buckets">The loss by position, by increasing position.</param>
public sealed record PositionLossResult(int ContextLength, Estimate Loss, Estimate? BitsPerByte, IReadOnlyList<PositionBucket> Buckets)
{
    /// <summary>
    /// Computes how the loss beyond a length compares with the loss within it: the mean loss of the buckets that begin at or after the length, minus
    /// the loss of the last bucket that ends at or before it, in nats per token. The result is null if there is no such bucket. A model that
    /// extrapolates has no positive result.
    /// </summary>
    /// <param name="trainingLength">The number of tokens of a window in training.</param>
    public double? RiseBeyond(int trainingLength)
    {
        var beyond = Buckets.Where(bucket => bucket.Start >= trainingLength).ToArray();
        var within = Buckets.LastOrDefault(bucket => bucket.End <= trainingLength);
        return within is null || beyond.Length == 0 ? null : beyond.Average(bucket => bucket.Loss.Value) - within.Loss.Value;
    }
}
