using System.Globalization;
using System.Text.RegularExpressions;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments.Tests;

/// <summary>Compares docs/experiments.md with the report of the committed results.</summary>
public sealed partial class PageTests
{
    static readonly CultureInfo Invariant = CultureInfo.InvariantCulture;
    static readonly Lazy<string> LazyReport = new(WriteReport);

    static string Report => LazyReport.Value;

    static string[] Page => File.ReadAllLines(Path.Combine(Repository.Root, "docs", "experiments.md"));

    static string Prose => string.Join(' ', Page.Select(line => line.Trim()));

    // signs and digits of a number; commas separate thousands
    const string Number = @"[+-]?\d[\d,]*(?:\.\d+)?";

    [GeneratedRegex($@"({Number}) \[({Number}), ({Number})\]")]
    private static partial Regex Intervals { get; }

    [GeneratedRegex($@"{Number} ± {Number}")]
    private static partial Regex Means { get; }

    [GeneratedRegex($@"(?<![\w.,:]){Number}(?![\w:]|[.,]\d)")]
    private static partial Regex Numbers { get; }

    static string WriteReport()
    {
        string folder = Path.Combine(Repository.Root, "lab", "experiments");
        var results = SweepResult.ReadFile(Path.Combine(folder, "results", "runs.jsonl"));
        var size = new StudySize();
        var catalogue = new Catalogue(size, vocabularySize: 8192);
        return new StudyReport(size, catalogue, results, TestedFinding.Test(Path.Combine(folder, "findings.json"), size, catalogue, results)).Text();
    }

    [Fact]
    public void Every_interval_of_the_page_is_in_the_report()
    {
        // the page may state a difference in either direction
        var known = Intervals.Matches(Report).SelectMany(match => ((double, double, double)[])[Read(match), Negated(Read(match))]).ToHashSet();
        var found = Intervals.Matches(Prose).ToArray();

        Assert.True(found.Length > 100);
        Assert.Equal([], found.Where(match => !known.Contains(Read(match))).Select(match => match.Value));
    }

    [Fact]
    public void Every_mean_of_the_page_is_in_the_report()
    {
        var known = Means.Matches(Report).Select(match => match.Value).ToHashSet();
        Assert.Equal([], Means.Matches(Prose).Select(match => match.Value).Where(mean => !known.Contains(mean)));
    }

    [Fact]
    public void Numbers_of_a_row_without_intervals_are_those_of_one_design_in_the_report()
    {
        double[][] designs = [.. Rows(Report.Split('\n')).GroupBy(cells => cells[0], cells => cells[1..]).Select(rows =>
            Numbers.Matches(string.Join(' ', rows.SelectMany(cells => cells))).Select(match => Parse(match.Value)).ToArray())];
        // the rest of a cell once its means and intervals are taken out
        string[][] rows = [.. Rows(Page).Select(cells => cells[1..].Select(cell => Means.Replace(Intervals.Replace(cell, ""), "").Trim())
            .Where(IsMeasured).ToArray())];
        bool IsKnown(string[] cells) => designs.Any(numbers => cells.All(cell =>
            numbers.Any(number => Math.Abs(number - Parse(cell)) <= Rounding(cell))));

        Assert.True(rows.Count(cells => cells.Length > 0) > 20);
        Assert.Equal([], rows.Where(cells => !IsKnown(cells)).Select(cells => string.Join(' ', cells)));
    }

    [Fact]
    public void The_counts_of_the_page_are_those_of_the_report()
    {
        string page = Prose;
        var (runs, minutes) = (Match(@"(\d+) runs were trained"), Match(@"took ([\d.]+) minutes"));
        Assert.Contains($"{runs} runs, three seeds", page);
        Assert.Contains($"The {runs} runs trained for {minutes} minutes in all", page);
        int opposite = int.Parse(Match(@"(\d+) opposite;"), Invariant) + int.Parse(Match(@"(\d+) opposite: different"), Invariant);
        Assert.Contains($"Of {Match(@"(\d+) findings of arXiv")} findings of the paper: {Match(@"(\d+) same sign")} have the same sign and are "
            + $"significant, {Match(@"(\d+) not decided")} are not decided by this noise, and {opposite} are opposite.", page);
        Assert.Contains($"{Match(@"(\d+) of them claim a difference")} of the findings claim a difference, and "
            + $"{Match(@"of which (\d+) have an interval")} of those have an interval without 0.", page);
        Assert.Contains($"(Benjamini and Hochberg), {Match(@"Hochberg\), (\d+) remain")} remain.", page);
    }

    // the lines of tables but for their titles and rules
    static IEnumerable<string[]> Rows(string[] lines) => lines.Where((line, index) => line.StartsWith("| ", StringComparison.Ordinal)
        && !line.StartsWith("| ---", StringComparison.Ordinal) && !Next(lines, index).StartsWith("| ---", StringComparison.Ordinal))
        .Select(line => line.Trim('|', ' ').Split('|').Select(cell => cell.Trim()).ToArray());

    static string Next(string[] lines, int index) => lines.ElementAtOrDefault(index + 1) ?? "";

    static string Match(string pattern) => Regex.Match(Report.ReplaceLineEndings(" "), pattern).Groups[1].Value;

    static bool IsMeasured(string cell) => cell.Contains('.') && double.TryParse(cell, NumberStyles.Float, Invariant, out _)
        || cell.Contains(',') && Numbers.IsMatch(cell) && double.TryParse(cell, NumberStyles.Number, Invariant, out _);

    // half a unit of the last digit
    static double Rounding(string cell) => 0.5000001 * Math.Pow(10, -(cell.Contains('.') ? cell.Length - cell.IndexOf('.') - 1 : 0));

    static (double, double, double) Read(Match match) =>
        (Parse(match.Groups[1].Value), Parse(match.Groups[2].Value), Parse(match.Groups[3].Value));

    static (double, double, double) Negated((double Value, double Low, double High) of) => (0 - of.Value, 0 - of.High, 0 - of.Low);

    static double Parse(string text) => double.Parse(text, Invariant);
}
