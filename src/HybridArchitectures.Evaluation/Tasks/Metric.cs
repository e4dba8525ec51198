using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.Tasks;

/// <summary>Contains one number that a task measured.</summary>
/// <param name="Name">The name of the number, such as <c>accuracy</c>.</param>
/// <param name="Value">The measured number.</param>
/// <param name="StandardError">The standard error over the samples of the task, or null if it has none.</param>
/// <param name="Count">The number of samples.</param>
/// <param name="Unit">The unit, such as <c>nats per token</c>. It is empty for a share.</param>
/// <param name="HigherIsBetter">True if a larger number is better. The default is true.</param>
public sealed record Metric(string Name, double Value, double? StandardError = null, long Count = 1, string Unit = "", bool HigherIsBetter = true)
{
    /// <summary>Returns the number in words: "loss 1.6101 +- 0.0366 nats per token".</summary>
    public override string ToString() => $"{Name} {new Estimate(Value, StandardError, Count)}{(Unit.Length > 0 ? $" {Unit}" : "")}";

    internal static Metric From(string name, Estimate estimate, string unit = "", bool higherIsBetter = true) =>
        new(name, estimate.Value, estimate.StandardError, estimate.Count, unit, higherIsBetter);
}
