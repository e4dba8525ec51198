namespace HybridArchitectures.Evaluation;

/// <summary>Held-out loss, in all and by position.</summary>
/// <param name="ContextLength">Tokens per window.</param>
/// <param name="Loss">Mean cross entropy of all tokens in nats per token; the standard error is over windows.</param>
/// <param name="BitsPerByte">The same in bits per byte of text; null where the data does not know its bytes.</param>
/// <param name="Buckets">The loss by position, in order.</param>
public sealed record PositionLossResult(int ContextLength, Estimate Loss, Estimate? BitsPerByte, IReadOnlyList<PositionBucket> Buckets)
{
    /// <summary>
    /// Computes how the loss beyond a length compares with the loss within it: the mean loss of the buckets that begin at or after the length, minus
    /// the loss of the last bucket that ends at or before it, in nats per token. Null where there is no such bucket. A model that extrapolates has
    /// no positive number here.
    /// </summary>
    /// <param name="trainingLength">Tokens of a window in training.</param>
    public double? RiseBeyond(int trainingLength)
    {
        var beyond = Buckets.Where(bucket => bucket.Start >= trainingLength).ToArray();
        var within = Buckets.LastOrDefault(bucket => bucket.End <= trainingLength);
        return within is null || beyond.Length == 0 ? null : beyond.Average(bucket => bucket.Loss.Value) - within.Loss.Value;
    }
}
