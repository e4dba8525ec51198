namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Represents a loss during training.</summary>
/// <param name="Step">The number of steps before the measurement.</param>
/// <param name="Tokens">The number of training tokens.</param>
/// <param name="Seconds">The training time in seconds.</param>
/// <param name="Loss">The loss in nats per token.</param>
/// <param name="StandardError">The standard error of the value, or null if it has none.</param>
public sealed record SweepLossPoint(long Step, long Tokens, double Seconds, double Loss, double? StandardError = null);
