using System.Globalization;
using HybridArchitectures.Training;

namespace HybridArchitectures.Evaluation;

/// <summary>How a sweep stands.</summary>
/// <param name="Run">The run at work: design and seed.</param>
/// <param name="Phase">What is done: <c>training</c>, the name of a task, or <c>done</c>.</param>
/// <param name="CompletedRuns">Runs that are complete.</param>
/// <param name="TotalRuns">Runs of the sweep.</param>
/// <param name="Training">The last report of the training; null outside of it.</param>
/// <param name="TimeLeft">Time left for the runs that this process still has to do, by the mean of those it did; null before the first is
/// done.</param>
public sealed record SweepProgress(string Run, string Phase, int CompletedRuns, int TotalRuns, TrainingProgress? Training = null,
    TimeSpan? TimeLeft = null)
{
    /// <summary>Returns one line.</summary>
    public override string ToString()
    {
        string training = Training is { } report
            ? string.Create(CultureInfo.InvariantCulture, $" {report.Done:0 %}, loss {report.Loss:0.000}, {report.TokensPerSecond:0} tokens/s") : "";
        string left = TimeLeft is { } time ? string.Create(CultureInfo.InvariantCulture, $", {time:hh\\:mm\\:ss} left") : "";
        return $"[{CompletedRuns}/{TotalRuns}] {Run}: {Phase}{training}{left}";
    }
}
