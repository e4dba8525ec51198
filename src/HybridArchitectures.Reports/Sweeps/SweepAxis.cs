using HybridArchitectures.Cost;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Represents a cost on the x-axis of a chart of quality.</summary>
/// <param name="Id">A short name for files and elements.</param>
/// <param name="Title">The title of the axis with its unit.</param>
/// <param name="IsCheapLow">True if a low number is good; false for speeds.</param>
/// <param name="IsLogarithmic">True if the axis is logarithmic.</param>
/// <param name="Cost">The function that returns the number of a design, or null if it was not measured.</param>
sealed record SweepAxis(string Id, string Title, bool IsCheapLow, bool IsLogarithmic, Func<string, double?> Cost)
{
    /// <summary>Returns the axes of a sweep: decode throughput (or training speed, if it was not measured), and cache and operations by the cost
    /// model.</summary>
    public static IReadOnlyList<SweepAxis> ForResult(SweepResult result)
    {
        const string Speed = "training speed";
        var axes = new List<SweepAxis>();
        var (task, metric) = result.Metrics.FirstOrDefault(item => item.Metric.Name.StartsWith("decode throughput", StringComparison.Ordinal));
        if (metric is not null) axes.Add(new("throughput", $"{metric.Name} (tokens/s)", false, false, design =>
            result.Mean(design, task, metric.Name)?.Value));
        else if (result.Metrics.Any(item => (item.Task, item.Metric.Name) == (SweepRun.TrainingTask, Speed)))
            axes.Add(new("speed", "training speed (tokens/s)", false, false, design => result.Mean(design, SweepRun.TrainingTask, Speed)?.Value));
        SweepRun Run(string design) => result.Runs.First(run => run.Settings.Name == design);
        axes.Add(new("cache", "cache per row at 8,192 tokens in bfloat16 (bytes)", true, true, design =>
            Math.Max(1, Run(design).Settings.Design.Cost(8192).Cache().Total)));
        axes.Add(new("flops", "training FLOPs per token", true, false, design => Run(design).Settings.Design.Cost(Run(design).Settings.ContextLength)
            .Flops().Training));
        return axes;
    }
}
