using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Writes the tables of the numbers of tokens: the held-out loss of each design, and its difference from the baseline at equal tokens.
/// </summary>
/// <param name="experiment">The experiment.</param>
/// <param name="part">Its runs.</param>
sealed class TokenTables(Experiment experiment, SweepResult part)
{
    const string Loss = "held-out loss";

    readonly int[] counts = [.. experiment.Parts.Select(item => item.Tokens).Distinct().Order()];

    readonly string[] designs = [.. experiment.Parts.SelectMany(item => item.Designs.Select(design => design.Name)).Distinct()];

    /// <summary>Returns the lines of the tables.</summary>
    public IEnumerable<string> Lines()
    {
        string[] tokens = [.. counts.Select(TitleOf)];
        return Table($"| held-out loss | {string.Join(" | ", tokens)} |", " ---: |", designs, (design, count) =>
                Has(NameOf(design, count)) ? Figure.Mean(part.Mean(NameOf(design, count), SweepRun.TrainingTask, Loss)) : "")
            .Concat(Table($"| difference from {experiment.Baseline} | {string.Join(" | ", tokens)} |", " --- |",
                designs.Where(design => design != experiment.Baseline), Difference));
    }

    IEnumerable<string> Table(string title, string rule, IEnumerable<string> rows, Func<string, int, string> cell) =>
        [title, $"| --- |{string.Concat(counts.Select(_ => rule))}",
            .. rows.Select(design => $"| {design} | {string.Join(" | ", counts.Select(count => cell(design, count)))} |"), ""];

    string Difference(string design, int count)
    {
        var (first, second) = (NameOf(experiment.Baseline, count), NameOf(design, count));
        return Has(first) && Has(second) && part.Compare(first, second, SweepRun.TrainingTask, Loss) is { } difference
            ? Figure.Difference(difference) : "";
    }

    bool Has(string name) => part.Runs.Any(run => run.Settings.Name == name && run.Find(SweepRun.TrainingTask, Loss) is not null);

    static string NameOf(string design, int count) => design + (count == 1 ? "" : $", tokens x {count}");

    string TitleOf(int count)
    {
        var run = part.Runs.FirstOrDefault(run => designs.Any(design => run.Settings.Name == NameOf(design, count)) && run.Training is not null);
        return run is null ? $"x {count}" : FormattableString.Invariant($"{run.Training!.Tokens / 1e6:0.0} million tokens");
    }

    /// <summary>Returns the curves of the held-out loss over the training tokens.</summary>
    public IReadOnlyList<ScalingCurve> Curves() => [.. designs.Select(design => new ScalingCurve(design, ScalingCurve.Tokens,
        [.. part.Runs.Where(run => counts.Any(count => run.Settings.Name == NameOf(design, count)) && run.Training is { Failure: null })
            .Select(run => new ScalingPoint(run.Training!.Tokens, run.Training.HeldOutLoss[^1].Loss))]))];
}
