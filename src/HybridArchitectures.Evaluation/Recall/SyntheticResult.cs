namespace HybridArchitectures.Evaluation;

/// <summary>How well a model does a synthetic task.</summary>
/// <param name="Accuracy">Share of targets that are the most probable token; the standard error is over rows.</param>
/// <param name="RowAccuracy">Share of rows whose every target is.</param>
/// <param name="Loss">Mean cross entropy of the targets in nats; the standard error is over rows.</param>
public sealed record SyntheticResult(Estimate Accuracy, Estimate RowAccuracy, Estimate Loss);
