namespace HybridArchitectures.Evaluation.Statistics;

/// <summary>Represents a loss at a scale.</summary>
/// <param name="Scale">The number of tokens, parameters or FLOPs, above 0.</param>
/// <param name="Loss">The loss in nats per token.</param>
public sealed record ScalingPoint(double Scale, double Loss);
