using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the progress of a sweep.</summary>
/// <param name="Run">The design and seed of the current run.</param>
/// <param name="Phase">The current phase: <c>training</c>, the name of a task, or <c>done</c>.</param>
/// <param name="CompletedRuns">The number of complete runs.</param>
/// <param name="TotalRuns">The number of runs of the sweep.</param>
/// <param name="Training">The last report of the training, or null in other phases.</param>
/// <param name="TimeLeft">The estimated time for the remaining runs of this process, from the mean of its complete ones, or null before the first is
/// done.</param>
public sealed record SweepProgress(string Run, string Phase, int CompletedRuns, int TotalRuns, TrainingProgress? Training = null,
    TimeSpan? TimeLeft = null)
{
    /// <summary>Returns the progress as one line of text.</summary>
    public override string ToString()
    {
        string training = Training is { } report
            ? string.Create(CultureInfo.InvariantCulture, $" {report.Done:0 %}, loss {report.Loss:0.000}, {report.TokensPerSecond:0} tokens/s") : "";
        return $"[{CompletedRuns}/{TotalRuns}] {Run}: {Phase}{training}{Units.TimeLeft(TimeLeft)}";
    }
}
