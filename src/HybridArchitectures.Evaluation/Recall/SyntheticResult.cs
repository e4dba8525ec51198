using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>Contains the results of a synthetic task.</summary>
/// <param name="Accuracy">The share of targets that are the most probable token. The standard error is over rows.</param>
/// <param name="RowAccuracy">The share of rows in which every target is the most probable token.</param>
/// <param name="Loss">The mean cross entropy of the targets in nats. The standard error is over rows.</param>
public sealed record SyntheticResult(Estimate Accuracy, Estimate RowAccuracy, Estimate Loss);
