using System.Globalization;
using System.Text;
using HybridArchitectures.Cost;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Reports.Sweeps;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Writes the page of the study (<c>experiments.md</c>) with the verdicts and one table per experiment, and a report with figures for each
/// experiment.
/// </summary>
/// <param name="size">The sizes.</param>
/// <param name="catalogue">The experiments.</param>
/// <param name="result">All runs.</param>
/// <param name="findings">The tested findings.</param>
sealed class StudyReport(StudySize size, Catalogue catalogue, SweepResult result, IReadOnlyList<TestedFinding> findings)
{
    const string Loss = "held-out loss";
    const string ScalingName = "scaling";
    const int MaxLine = 150;
    static readonly CultureInfo Invariant = CultureInfo.InvariantCulture;

    readonly StringBuilder page = new();

    /// <summary>Writes the page and the reports.</summary>
    /// <param name="folder">The folder to write.</param>
    public void Write(string folder)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "experiments.md"), Text(folder));
    }

    /// <summary>Returns the page. Without a folder, it writes no reports, and the page has no figures.</summary>
    /// <param name="folder">The folder for the reports, or null.</param>
    public string Text(string? folder = null)
    {
        page.Clear();
        Line("# Experiments with hybrids at small scale");
        Line();
        WriteSummary();
        WriteVerdicts();
        WriteContradictions();
        foreach (var experiment in catalogue.All)
        {
            Line($"## {experiment.Title}");
            Line();
            Paragraph(experiment.Question);
            WriteExperiment(experiment, folder);
        }
        return page.ToString().TrimEnd() + "\n";
    }

    void Line(string text = "") => page.Append(text).Append('\n');

    void Paragraph(string text)
    {
        int used = 0;
        foreach (string word in text.Split(' '))
        {
            if (used > 0) page.Append(used + 1 + word.Length > MaxLine ? '\n' : ' ');
            used = used == 0 || used + 1 + word.Length > MaxLine ? word.Length : used + 1 + word.Length;
            page.Append(word);
        }
        page.Append("\n\n");
    }

    void WriteSummary()
    {
        var trained = result.Runs.Where(run => run.Training is { Failure: null }).ToArray();
        int failed = result.Runs.Count(run => run.Training?.Failure is not null);
        var devices = result.Runs.Select(run => run.Settings.Environment.Device).Distinct();
        Paragraph($"{trained.Length} runs were trained on {string.Join(" and ", devices)}, {failed} diverged. Training took "
            + string.Create(Invariant, $"{trained.Sum(run => run.Training!.Seconds) / 60:0.0} minutes for ")
            + string.Create(Invariant, $"{trained.Sum(run => run.Training!.Tokens) / 1e6:0} million tokens. ")
            + "Means are followed by their standard errors. Differences are means over pairs of runs with equal "
            + "seeds, second minus first, with 95 % intervals of the t-distribution.");
        Paragraph("No correction for the number of comparisons was made: among 20 true equalities, one interval is expected to exclude 0.");
    }

    void WriteVerdicts()
    {
        Line("## Findings of the paper");
        Line();
        var plain = findings.Where(item => item.Finding.Contradiction is null && item.Finding.Source != "not in the paper").ToArray();
        var counts = plain.GroupBy(item => item.VerdictText).OrderByDescending(group => group.Count())
            .Select(group => $"{group.Count()} {group.Key}");
        Paragraph($"{plain.Length} findings of arXiv 2510.04800: {string.Join("; ", counts)}.");
        WriteCorrection(plain);
        WriteFindings(plain);
        Line("Checks that the paper suggests or does not contain:");
        Line();
        WriteFindings(findings.Where(item => item.Finding.Source == "not in the paper"));
    }

    // Benjamini and Hochberg, "Controlling the false discovery rate", 1995; claims of equality are no tests of a difference
    void WriteCorrection(IEnumerable<TestedFinding> items)
    {
        var tests = items.Where(item => item.Finding.Margin is null && item.Measured?.TTestP is not null)
            .OrderBy(item => item.Measured!.TTestP).ToArray();
        int kept = Enumerable.Range(1, tests.Length).LastOrDefault(rank => tests[rank - 1].Measured!.TTestP <= 0.05 * rank / tests.Length);
        string[] lost = [.. tests.Skip(kept).Where(item => item.Verdict is Verdict.Same or Verdict.Opposite).Select(item => item.Finding.Claim)];
        string claims = lost.Length == 0 ? "none" : string.Join(" ", lost);
        Paragraph($"{tests.Length} of them claim a difference, of which {kept + lost.Length} have an interval without 0. "
            + $"With the false discovery rate at 5 % (Benjamini and Hochberg), {kept} remain. Lost: {claims}");
    }

    void WriteContradictions()
    {
        Line("## Where the paper contradicts itself");
        Line();
        foreach (var question in findings.Where(item => item.Finding.Contradiction is not null).GroupBy(item => item.Finding.Contradiction))
        {
            Line($"**{question.Key}**");
            Line();
            WriteFindings(question);
        }
    }

    void WriteFindings(IEnumerable<TestedFinding> items)
    {
        Line("| finding | source | there | here | verdict |");
        Line("| --- | --- | --- | --- | --- |");
        foreach (var item in items)
            Line($"| {item.Finding.Claim}{(item.Finding.Note is { } note ? $" {note}" : "")} | {item.Finding.Source} | {item.There} | {item.Here} | "
                + $"{item.VerdictText} |");
        Line();
    }

    void WriteExperiment(Experiment experiment, string? folder)
    {
        string name = experiment.Name;
        bool isRecall = experiment.Parts.All(part => part.IsRecall);
        string[] names = [.. experiment.Parts.SelectMany(part => part.Designs.Select(part.NameOf))];
        var order = names.Select((design, index) => (design, index)).ToDictionary(item => item.design, item => item.index);
        SweepRun[] runs = [.. result.Runs.Where(run => order.ContainsKey(run.Settings.Name)).OrderBy(run => run.Settings.Seed)
            .ThenBy(run => order[run.Settings.Name])];
        runs = [.. runs.Where(run => experiment.SeedsOf(size).Contains(run.Settings.Seed))];
        // only the runs of one experiment differ in nothing but the size; a fit over others would mix optimizers and training lengths
        if (name != ScalingName) runs = [.. runs.Select(run => run with { Settings = run.Settings with { Family = null } })];
        if (runs.Length == 0)
        {
            Line($"No results of {name} yet.");
            Line();
            return;
        }
        var part = new SweepResult(runs, true);
        string baseline = isRecall ? $"{experiment.Baseline}, recall" : experiment.Baseline;
        if (!part.Designs.Contains(baseline)) baseline = part.Designs[0];
        (string Task, string Metric) metric = isRecall ? (size.Recall.NameAt(1), "accuracy")
            : (SweepRun.TrainingTask, Loss);
        WriteTable(part, baseline, metric);
        WriteMeasurements(part, experiment.Parts.Aggregate(PartTasks.None, (all, one) => all | one.Measured));
        foreach (var group in experiment.Comparisons) WriteComparisons(part, group);
        if (name == ScalingName) WriteScaling(experiment, part);
        var tokens = name == Catalogue.TokensName ? new TokenTables(experiment, part) : null;
        foreach (string line in tokens?.Lines() ?? []) Line(line);
        if (folder is null) return;
        new SweepReport(part) { Title = experiment.Title, Description = experiment.Question, Baseline = baseline,
            Scaling = tokens?.Curves() ?? [], Quality = IsMeasured(part, metric.Task, metric.Metric) ? metric : null }
            .Write(Path.Combine(folder, name));
        foreach (string picture in Directory.GetFiles(Path.Combine(folder, name), "*.png").Order(StringComparer.Ordinal)
            .Where(file => !Path.GetFileName(file).StartsWith("design", StringComparison.Ordinal)))
            Line($"![{experiment.Title}: {Path.GetFileNameWithoutExtension(picture)}]({name}/{Path.GetFileName(picture)})\n");
        Line($"[All numbers, designs and settings]({name}/index.html)");
        Line();
    }

    void WriteTable(SweepResult part, string baseline, (string Task, string Metric) metric)
    {
        string measured = metric.Metric == Loss ? "held-out loss, nats per token" : $"{metric.Task}, {metric.Metric}";
        Line($"| design | {measured} | each seed | against {baseline} | parameters without embedding | learning rate |");
        Line("| --- | ---: | --- | --- | ---: | ---: |");
        bool isMeasured = IsMeasured(part, metric.Task, metric.Metric);
        foreach (string design in part.Designs)
        {
            var settings = part.Runs.First(run => run.Settings.Name == design).Settings;
            var mean = isMeasured ? part.Mean(design, metric.Task, metric.Metric) : null;
            string each = isMeasured ? Figure.Each(part.Values(design, metric.Task, metric.Metric).Select(item => item.Value)) : "";
            var difference = isMeasured ? part.Compare(baseline, design, metric.Task, metric.Metric) : null;
            string against = design == baseline || difference is null ? "" : Figure.Difference(difference);
            string failure = part.Runs.Any(run => run.Settings.Name == design && run.Training?.Failure is not null) ? " (diverged)" : "";
            Line(string.Create(Invariant, $"| {design}{failure} | {Figure.Mean(mean)} | {each} | {against} | ")
                + string.Create(Invariant, $"{settings.Design.CountParameters().NonEmbedding / 1e6:0.00} M | {settings.LearningRate:0.####} |"));
        }
        Line();
    }

    static bool IsMeasured(SweepResult part, string task, string metric) =>
        part.Metrics.Any(item => (item.Task, item.Metric.Name) == (task, metric));

    // one column for each metric of the tasks
    void WriteMeasurements(SweepResult part, PartTasks tasks)
    {
        int twice = 2 * size.ContextLength;
        (PartTasks Kind, string Title, string Task, string Metric)[] all =
        [
            (PartTasks.Cost, "decoding, tokens/s", "inference cost", $"decode throughput, 4 x {twice}"),
            (PartTasks.Cost, "cache, bytes", "inference cost", $"cache, 4 x {twice}"),
            .. size.NeedleLengths.Select(length => (PartTasks.Needle, $"needles found in {length}", "needle in a haystack", $"score at {length}")),
            (PartTasks.Positions, $"loss of windows of {twice}", $"loss by position to {twice}", "loss"),
            .. ((int[])[size.ContextLength / 2, size.ContextLength]).Select(length =>
                (PartTasks.Positions, $"rise beyond {length}, nats", $"loss by position to {twice}", $"rise beyond {length}")),
            .. ((double[])[1.5, 2]).Select(lengths => (PartTasks.Recall, size.Recall.NameAt(lengths), size.Recall.NameAt(lengths), "accuracy")),
        ];
        var columns = all.Where(column => tasks.HasFlag(column.Kind)
            && IsMeasured(part, column.Task, column.Metric)).ToArray();
        if (columns.Length == 0) return;
        Line($"| design | {string.Join(" | ", columns.Select(column => column.Title))} |");
        Line($"| --- |{string.Concat(columns.Select(_ => " ---: |"))}");
        foreach (string design in part.Designs)
        {
            string[] cells = [.. columns.Select(column => Figure.Mean(part.Mean(design, column.Task, column.Metric)))];
            if (cells.Any(cell => cell.Length > 0)) Line($"| {design} | {string.Join(" | ", cells)} |");
        }
        Line();
    }

    void WriteComparisons(SweepResult part, ComparisonGroup group)
    {
        // some runs may be missing
        var measured = group.Comparisons.Where(item => part.Designs.Contains(item.First) && part.Designs.Contains(item.Second)
            && IsMeasured(part, item.Task, item.Metric))
            .Select(item => (item, Difference: part.Compare(item.First, item.Second, item.Task, item.Metric)))
            .Where(item => item.Difference is not null).ToArray();
        if (measured.Length == 0) return;
        Line($"{group.Title}: {measured.Count(item => !item.Difference!.IsBelowNoise)} of {measured.Length} intervals exclude 0.");
        Line();
        Line("| design | minus | difference |");
        Line("| --- | --- | --- |");
        foreach (var (item, difference) in measured) Line($"| {item.Second} | {item.First} | {Figure.Difference(difference!)} |");
        Line();
    }

    void WriteScaling(Experiment experiment, SweepResult part)
    {
        var tables = new ScalingTables(size, experiment, part);
        foreach (string line in tables.Fits().Concat(tables.Tokens())) Line(line);
    }
}
