namespace HybridArchitectures.Experiments;

/// <summary>Contains a difference that the paper prints.</summary>
/// <param name="Scale">The size of the models.</param>
/// <param name="Value">The difference, in nats per token if the metric is a loss.</param>
sealed record FindingEffect(string Scale, double Value);
