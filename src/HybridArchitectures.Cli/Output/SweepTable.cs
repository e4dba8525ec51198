using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Cli.Output;

/// <summary>Prints the results of a sweep, one table per task.</summary>
static class SweepTable
{
    public static void Write(SweepResult result)
    {
        foreach (var group in result.Metrics.GroupBy(item => item.Task))
        {
            Terminal.Line($"{group.Key}: mean over seeds +- standard error; difference to {result.Designs[0]} over pairs of seeds");
            Terminal.Table(["design", .. group.SelectMany(item => (string[])[item.Metric.Name, "difference"])],
                result.Designs.Select(design => (IReadOnlyList<string>)
                [design, .. group.SelectMany(item => Cells(result, design, item.Task, item.Metric))]));
        }
        foreach (var run in result.Runs.Where(run => run.Training?.Failure is not null))
            Terminal.Line($"{run.Settings.Name}, seed {run.Settings.Seed} failed: {run.Training!.Failure}");
    }

    static string[] Cells(SweepResult result, string design, string task, Metric metric)
    {
        string difference = design == result.Designs[0] ? "" : result.Compare(result.Designs[0], design, task, metric.Name)?.Text ?? "";
        return [result.Mean(design, task, metric.Name)?.Text ?? "", difference];
    }
}
