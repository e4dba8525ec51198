using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains a run of a sweep, as stored in its folder.</summary>
/// <param name="Folder">The folder of the run.</param>
/// <param name="Settings">The settings of the run.</param>
/// <param name="Training">The result of the training, or null while it is not complete.</param>
/// <param name="Tasks">The results of the complete tasks.</param>
public sealed record SweepRun(string Folder, SweepRunSettings Settings, SweepTraining? Training, IReadOnlyList<TaskResult> Tasks)
{
    /// <summary>Specifies the task name of the metrics of training: <c>held-out loss</c> and <c>tokens per second</c>.</summary>
    public const string TrainingTask = "training";

    /// <summary>Returns the value of a metric, or null if it was not measured.</summary>
    /// <param name="task">The name of the task, or <see cref="TrainingTask"/>.</param>
    /// <param name="metric">The name of the metric.</param>
    public Metric? Find(string task, string metric) =>
        AllTasks.FirstOrDefault(result => result.Task == task)?.Metrics.FirstOrDefault(found => found.Name == metric);

    /// <summary>Gets the results of the tasks, preceded by the metrics of training.</summary>
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
