using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.HeldOut;

/// <summary>Contains the loss of the tokens at a range of positions of their window.</summary>
/// <param name="Start">The first position, counted from 0.</param>
/// <param name="End">The position after the last one.</param>
/// <param name="Loss">The mean cross entropy in nats per token. The standard error is over windows.</param>
public sealed record PositionBucket(int Start, int End, Estimate Loss);
