namespace HybridArchitectures.Evaluation;

/// <summary>One number that a task measured.</summary>
/// <param name="Name">What it is, such as <c>accuracy</c>.</param>
/// <param name="Value">The number.</param>
/// <param name="StandardError">Its standard error over the task's samples; null where it has none.</param>
/// <param name="Count">How many samples it is of.</param>
/// <param name="Unit">Its unit, such as <c>nats per token</c>; empty for a share.</param>
/// <param name="HigherIsBetter">Whether a larger number is better.</param>
public sealed record Metric(string Name, double Value, double? StandardError = null, long Count = 1, string Unit = "", bool HigherIsBetter = true)
{
    internal static Metric From(string name, Estimate estimate, string unit = "", bool higherIsBetter = true) =>
        new(name, estimate.Value, estimate.StandardError, estimate.Count, unit, higherIsBetter);
}
