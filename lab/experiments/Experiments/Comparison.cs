using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments;

/// <summary>Represents a comparison of two designs of an experiment, neither of which has to be its baseline.</summary>
/// <param name="First">The first design, whose number is subtracted.</param>
/// <param name="Second">The second design.</param>
/// <param name="Task">The task of the metric. The default is training.</param>
/// <param name="Metric">The metric. The default is the held-out loss.</param>
sealed record Comparison(string First, string Second, string Task = SweepRun.TrainingTask, string Metric = "held-out loss");
