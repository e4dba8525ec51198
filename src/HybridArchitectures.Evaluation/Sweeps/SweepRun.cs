namespace HybridArchitectures.Evaluation;

/// <summary>A run of a sweep, as its folder holds it.</summary>
/// <param name="Folder">The folder.</param>
/// <param name="Settings">What it was made from.</param>
/// <param name="Training">How its training went; null while it is not complete.</param>
/// <param name="Tasks">What was measured of the trained model so far.</param>
public sealed record SweepRun(string Folder, SweepRunSettings Settings, SweepTraining? Training, IReadOnlyList<TaskResult> Tasks)
{
    /// <summary>The task name of the numbers that training itself gives: <c>held-out loss</c> and <c>tokens per second</c>.</summary>
    public const string TrainingTask = "training";

    /// <summary>Returns a number of the run, or null if it was not measured.</summary>
    /// <param name="task">The task's name, or <see cref="TrainingTask"/>.</param>
    /// <param name="metric">The metric's name.</param>
    public Metric? Find(string task, string metric) =>
        AllTasks.FirstOrDefault(result => result.Task == task)?.Metrics.FirstOrDefault(found => found.Name == metric);

    /// <summary>Gets the tasks, preceded by the numbers of training.</summary>
    internal IEnumerable<TaskResult> AllTasks => TrainingMetrics is { Count: > 0 } metrics
        ? Tasks.Prepend(new TaskResult(TrainingTask, "Numbers of the training run.", metrics)) : Tasks;

    List<Metric> TrainingMetrics
    {
        get
        {
            if (Training is null) return [];
            var metrics = new List<Metric>();
            if (Training.HeldOutLoss is [.., var last]) metrics.Add(new("held-out loss", last.Loss, last.StandardError, 1, "nats per token",
                HigherIsBetter: false));
            if (Training.Loss is [.., var latest]) metrics.Add(new("training loss", latest.Loss, null, 1, "nats per token", HigherIsBetter: false));
            if (Training.Failure is null) metrics.Add(new("training speed", Training.TokensPerSecond, null, 1, "tokens/s"));
            return metrics;
        }
    }
}
