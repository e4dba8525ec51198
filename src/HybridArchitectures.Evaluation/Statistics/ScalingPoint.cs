namespace HybridArchitectures.Evaluation;

/// <summary>A loss at a scale.</summary>
/// <param name="Scale">Tokens, parameters or FLOPs; above 0.</param>
/// <param name="Loss">The loss in nats per token.</param>
public sealed record ScalingPoint(double Scale, double Loss);
