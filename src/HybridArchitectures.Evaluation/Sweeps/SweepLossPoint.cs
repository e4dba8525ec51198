namespace HybridArchitectures.Evaluation;

/// <summary>A loss during training.</summary>
/// <param name="Step">Steps done.</param>
/// <param name="Tokens">Tokens trained on.</param>
/// <param name="Seconds">Time trained.</param>
/// <param name="Loss">The loss in nats per token.</param>
/// <param name="StandardError">Its standard error; null where it has none.</param>
public sealed record SweepLossPoint(long Step, long Tokens, double Seconds, double Loss, double? StandardError = null);
