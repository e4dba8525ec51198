using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the runs of a sweep, and computes tables over their designs and seeds.</summary>
/// <param name="Runs">The runs of the sweep.</param>
/// <param name="IsComplete">True if every run of the sweep is complete.</param>
public sealed record SweepResult(IReadOnlyList<SweepRun> Runs, bool IsComplete)
{
    /// <summary>
    /// Writes all runs as one file, one JSON object per line, to keep or to commit results without checkpoints. The folder of a run is reduced to its
    /// name.
    /// </summary>
    /// <param name="path">The file, which is written atomically.</param>
    public void WriteFile(string path)
    {
        Require.NotBlank(path);
        SweepJson.WriteLines(path, Runs.Select(run => run with { Folder = Path.GetFileName(run.Folder) }));
    }

    /// <summary>Reads the runs of a file that <see cref="WriteFile"/> wrote.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">A line is damaged. The message contains its number.</exception>
    public static SweepResult ReadFile(string path)
    {
        Require.NotBlank(path);
        var runs = SweepJson.ReadLines(path, SweepJson.Default.SweepRun);
        return new(runs, runs.All(run => run.Training is not null));
    }

    /// <summary>Gets the names of the designs, in the order of the runs.</summary>
    public IReadOnlyList<string> Designs => [.. Runs.Select(run => run.Settings.Name).Distinct()];

    /// <summary>Gets the task and metric names that occur in any run, in order.</summary>
    public IReadOnlyList<(string Task, Metric Metric)> Metrics =>
        [.. Runs.SelectMany(run => run.AllTasks.SelectMany(task => task.Metrics.Select(metric => (task.Task, metric))))
            .DistinctBy(item => (item.Task, item.metric.Name))];

    /// <summary>
    /// Returns the values of a metric of a design, in the order of the seeds. The list is empty if the design has not been measured.
    /// </summary>
    /// <param name="design">The name of the design, one of <see cref="Designs"/>.</param>
    /// <param name="task">The name of the task, or <see cref="SweepRun.TrainingTask"/>.</param>
    /// <param name="metric">The name of the metric. The task and the metric are in <see cref="Metrics"/>.</param>
    /// <exception cref="ArgumentException">
    /// No run has the design, or none has measured the metric although others are measured. The message lists the names that exist.
    /// </exception>
    /// <exception cref="InvalidDataException">
    /// Two runs of the design with the same seed have the metric, because the folder contains runs with other options. The message names the runs.
    /// </exception>
    public IReadOnlyList<(long Seed, double Value)> Values(string design, string task, string metric)
    {
        RequireDesign(design, nameof(design));
        RequireMetric(task, metric);
        var found = Runs.Where(run => run.Settings.Name == design && run.Find(task, metric) is not null).OrderBy(run => run.Settings.Seed).ToArray();
        if (found.GroupBy(run => run.Settings.Seed).FirstOrDefault(runs => runs.Count() > 1) is { } same)
            throw new InvalidDataException($"'{design}' has {same.Count()} runs with seed {same.Key} and different options, "
                + $"{string.Join(" and ", same.Select(run => Path.GetFileName(run.Folder)))}; expected one. "
                + "Move or delete the folders of the others.");
        return [.. found.Select(run => (run.Settings.Seed, run.Find(task, metric)!.Value))];
    }

    /// <summary>Returns the mean over seeds and its standard error, or null if the design has not been measured.</summary>
    /// <inheritdoc cref="Values"/>
    public Estimate? Mean(string design, string task, string metric) =>
        Values(design, task, metric) is { Count: > 0 } values ? Estimate.FromSamples(values.Select(item => item.Value)) : null;

    /// <summary>
    /// Compares two designs by the seeds for which both have the metric, or returns null if there are none, for example because the sweep was
    /// cancelled before.
    /// </summary>
    /// <param name="first">The name of the first design, the baseline, one of <see cref="Designs"/>.</param>
    /// <param name="second">The name of the second design.</param>
    /// <param name="task">The name of the task, or <see cref="SweepRun.TrainingTask"/>.</param>
    /// <param name="metric">The name of the metric. The task and the metric are in <see cref="Metrics"/>.</param>
    /// <inheritdoc cref="Values" path="/exception"/>
    public PairedComparison? Compare(string first, string second, string task, string metric)
    {
        RequireDesign(first, nameof(first));
        RequireDesign(second, nameof(second));
        var (a, b) = (Values(first, task, metric), Values(second, task, metric));
        var pairs = a.Join(b, item => item.Seed, item => item.Seed, (x, y) => (x.Value, Other: y.Value)).ToArray();
        return pairs.Length == 0 ? null : PairedComparison.Compare([.. pairs.Select(pair => pair.Value)], [.. pairs.Select(pair => pair.Other)]);
    }

    // a result without runs or measurements, of a sweep that was cancelled at once, does not know the names
    void RequireDesign(string design, string parameter)
    {
        if (Runs.Count > 0 && !Designs.Contains(design))
            throw Require.Unfit(parameter, $"{parameter} is '{design}'", $"one of '{string.Join("', '", Designs)}'");
    }

    internal void RequireMetric(string task, string metric)
    {
        if (Metrics is not { Count: > 0 } known) return;
        string[] metrics = [.. known.Where(item => item.Task == task).Select(item => item.Metric.Name)];
        if (metrics.Length == 0)
            throw Require.Unfit(nameof(task), $"task is '{task}'", $"one of '{string.Join("', '", known.Select(item => item.Task).Distinct())}'");
        if (!metrics.Contains(metric)) throw Require.Unfit(nameof(metric), $"metric is '{metric}'", $"one of '{string.Join("', '", metrics)}'");
    }
}
