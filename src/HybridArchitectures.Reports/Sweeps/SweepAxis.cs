using HybridArchitectures.Cost;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>A cost that quality is drawn against.</summary>
/// <param name="Id">A short name for files and elements.</param>
/// <param name="Title">The axis' title with its unit.</param>
/// <param name="IsCheapLow">Whether a low number is good; false for speeds.</param>
/// <param name="IsLogarithmic">Whether the axis is logarithmic.</param>
/// <param name="Cost">A design's number; null where it was not measured.</param>
sealed record SweepAxis(string Id, string Title, bool IsCheapLow, bool IsLogarithmic, Func<string, double?> Cost)
{
    /// <summary>The axes that a sweep has: decode throughput where it was measured, else training speed; cache and operations by the cost
    /// model.</summary>
    public static IReadOnlyList<SweepAxis> ForResult(SweepResult result)
    {
        var axes = new List<SweepAxis>();
        var (task, metric) = result.Metrics.FirstOrDefault(item => item.Metric.Name.StartsWith("decode throughput", StringComparison.Ordinal));
        if (metric is not null) axes.Add(new("throughput", $"{metric.Name} (tokens/s)", false, false, design =>
            result.Mean(design, task, metric.Name)?.Value));
        else axes.Add(new("speed", "training speed (tokens/s)", false, false, design =>
            result.Mean(design, SweepRun.TrainingTask, "training speed")?.Value));
        SweepRun Run(string design) => result.Runs.First(run => run.Settings.Name == design);
        axes.Add(new("cache", "cache per row at 8,192 tokens in bfloat16 (bytes)", true, true, design =>
            Math.Max(1, Run(design).Settings.Design.Cost(8192).Cache().Total)));
        axes.Add(new("flops", "training FLOPs per token", true, false, design => Run(design).Settings.Design.Cost(Run(design).Settings.ContextLength)
            .Flops().Training));
        return axes;
    }
}
