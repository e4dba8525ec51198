using System.Globalization;
using System.Text.Json;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments;

/// <summary>Contains a finding with the difference that was measured here.</summary>
/// <param name="Finding">The finding.</param>
/// <param name="Measured">The difference over pairs of equal seeds, or null if it was not measured.</param>
sealed record TestedFinding(Finding Finding, PairedComparison? Measured)
{
    static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    /// <summary>Gets the verdict.</summary>
    public Verdict Verdict
    {
        get
        {
            if (Measured is null) return Verdict.Missing;
            if (Measured.Interval is not { } interval) return Verdict.Undecided;
            if (Finding.Margin is { } margin)
            {
                if (interval.Low >= -margin && interval.High <= margin) return Verdict.Same;
                return interval.Low > margin || interval.High < -margin ? Verdict.Opposite : Verdict.Undecided;
            }
            if (Measured.IsBelowNoise) return Verdict.Undecided;
            return Math.Sign(Measured.Difference.Value) == Finding.ClaimedSign ? Verdict.Same : Verdict.Opposite;
        }
    }

    /// <summary>Gets the verdict in words.</summary>
    public string VerdictText => Verdict switch
    {
        Verdict.Same => Finding.Margin is null ? "same sign and significant" : "equal within the margin",
        Verdict.Opposite => Finding.Margin is null ? "opposite" : "opposite: different",
        Verdict.Undecided => "not decided by this noise",
        _ => "not measured",
    };

    /// <summary>Gets the effects of the paper as text.</summary>
    public string There => Finding.Effects.Count > 0
        ? string.Join("; ", Finding.Effects.Select(effect =>
            string.Create(CultureInfo.InvariantCulture, $"{effect.Value:+0.000;-0.000;0.000} ({effect.Scale})")))
        : Finding.ClaimedSign > 0 ? "higher" : Finding.ClaimedSign < 0 ? "lower" : "equal";

    /// <summary>Gets the measured difference with its interval as text.</summary>
    public string Here => Measured is null ? "" : Figure.Difference(Measured);

    /// <summary>Tests all findings.</summary>
    /// <param name="findings">The path of the findings.</param>
    /// <param name="size">The sizes, for the lengths and positions in names.</param>
    /// <param name="catalogue">The experiments, whose designs the findings may name.</param>
    /// <param name="result">All runs.</param>
    /// <exception cref="InvalidDataException">A finding names a design or an experiment that does not exist, or has no clear sign.</exception>
    public static IReadOnlyList<TestedFinding> Test(string findings, StudySize size, Catalogue catalogue, SweepResult result)
    {
        string Named(string name) => name.Replace("{middle}", $"{size.Depth / 2 + 1}").Replace("{last}", $"{size.Depth}")
            .Replace("{recall}", size.Recall.NameAt(1)).Replace("{recall 1.5}", size.Recall.NameAt(1.5)).Replace("{1}", $"{size.ContextLength}")
            .Replace("{1.5}", $"{size.ContextLength * 3 / 2}").Replace("{2}", $"{size.ContextLength * 2}");
        var all = JsonSerializer.Deserialize<List<Finding>>(File.ReadAllText(findings), Json)
            ?? throw new InvalidDataException($"{findings}: the file contains no findings.");
        foreach (var finding in all)
        {
            Check(finding);
            var experiment = catalogue.All.FirstOrDefault(item => item.Name == finding.Experiment)
                ?? throw new InvalidDataException($"Finding {finding.Id} names the experiment {finding.Experiment}; expected one of the catalogue.");
            foreach (string name in (string[])[Named(finding.First), Named(finding.Second)])
                if (!experiment.Names.Contains(name))
                    throw new InvalidDataException($"Finding {finding.Id} names the design {name}; expected one of {experiment.Name}: "
                        + $"{string.Join("; ", experiment.Names)}.");
        }
        // some runs may be missing
        bool IsMeasured(Finding finding) => result.Designs.Contains(Named(finding.First)) && result.Designs.Contains(Named(finding.Second))
            && result.Metrics.Any(item => (item.Task, item.Metric.Name) == (Named(finding.Task), Named(finding.Metric)));
        return [.. all.Select(finding => new TestedFinding(finding, !IsMeasured(finding) ? null
            : result.Compare(Named(finding.First), Named(finding.Second), Named(finding.Task), Named(finding.Metric))))];
    }

    static void Check(Finding finding)
    {
        var signs = finding.Effects.Select(effect => Math.Sign(effect.Value)).Where(sign => sign != 0).Distinct();
        if (finding.Margin is null && signs.Count() > 1)
            throw new InvalidDataException($"Finding {finding.Id} has effects of both signs; expected one finding per sign.");
        if (finding.Margin is null && finding.ClaimedSign == 0)
            throw new InvalidDataException($"Finding {finding.Id} has no sign and no margin; expected one of them.");
    }
}
