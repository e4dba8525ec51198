namespace HybridArchitectures.Evaluation;

/// <summary>The runs of a sweep, and tables over their designs and seeds.</summary>
/// <param name="Runs">The runs.</param>
/// <param name="IsComplete">Whether every run of the sweep is complete.</param>
public sealed record SweepResult(IReadOnlyList<SweepRun> Runs, bool IsComplete)
{
    /// <summary>Gets the names of the designs, in the order of the runs.</summary>
    public IReadOnlyList<string> Designs => [.. Runs.Select(run => run.Settings.Name).Distinct()];

    /// <summary>Gets the metrics that any run has, as task and metric names, in order.</summary>
    public IReadOnlyList<(string Task, Metric Metric)> Metrics =>
        [.. Runs.SelectMany(run => run.AllTasks.SelectMany(task => task.Metrics.Select(metric => (task.Task, metric))))
            .DistinctBy(item => (item.Task, item.metric.Name))];

    /// <summary>Returns a design's numbers by seed, in the order of the seeds.</summary>
    /// <param name="design">The design's name.</param>
    /// <param name="task">The task's name, or <see cref="SweepRun.TrainingTask"/>.</param>
    /// <param name="metric">The metric's name.</param>
    public IReadOnlyList<(long Seed, double Value)> Values(string design, string task, string metric) =>
        [.. Runs.Where(run => run.Settings.Name == design).Select(run => (run.Settings.Seed, Found: run.Find(task, metric)))
            .Where(item => item.Found is not null).OrderBy(item => item.Seed).Select(item => (item.Seed, item.Found!.Value))];

    /// <summary>Returns the mean over seeds and its standard error; null if no run of the design has the metric.</summary>
    /// <inheritdoc cref="Values"/>
    public Estimate? Mean(string design, string task, string metric) =>
        Values(design, task, metric) is { Count: > 0 } values ? Estimate.FromSamples(values.Select(item => item.Value)) : null;

    /// <summary>Compares two designs by the seeds that both have; null if they have none in common.</summary>
    /// <param name="first">The design that the second is compared with.</param>
    /// <param name="second">The other.</param>
    /// <param name="task">The task's name, or <see cref="SweepRun.TrainingTask"/>.</param>
    /// <param name="metric">The metric's name.</param>
    public PairedComparison? Compare(string first, string second, string task, string metric)
    {
        var (a, b) = (Values(first, task, metric), Values(second, task, metric));
        var pairs = a.Join(b, item => item.Seed, item => item.Seed, (x, y) => (x.Value, Other: y.Value)).ToArray();
        return pairs.Length == 0 ? null : PairedComparison.Compare([.. pairs.Select(pair => pair.Value)], [.. pairs.Select(pair => pair.Other)]);
    }
}
