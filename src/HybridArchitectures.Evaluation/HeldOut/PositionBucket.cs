namespace HybridArchitectures.Evaluation;

/// <summary>The loss of tokens at some positions of their window.</summary>
/// <param name="Start">The first position, from 0: the number of tokens before the one that reads it.</param>
/// <param name="End">One past the last position.</param>
/// <param name="Loss">Mean cross entropy in nats per token; the standard error is over windows.</param>
public sealed record PositionBucket(int Start, int End, Estimate Loss);
