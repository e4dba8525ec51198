using System.Globalization;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments;

/// <summary>Writes the tables of the sizes: the fitted laws, and the tokens that attention needs for the same training loss.</summary>
/// <param name="size">The sizes.</param>
/// <param name="experiment">The experiment.</param>
/// <param name="part">Its runs.</param>
sealed class ScalingTables(StudySize size, Experiment experiment, SweepResult part)
{
    static readonly CultureInfo Invariant = CultureInfo.InvariantCulture;

    /// <summary>Returns the lines of the table of the fits over training FLOPs. There are none without attention.</summary>
    public IEnumerable<string> Fits()
    {
        var fits = ScalingCurve.FromSweep(part).Where(curve => curve.Axis == ScalingCurve.Flops)
            .ToDictionary(curve => curve.Name, curve => (Fit: ScalingFit.Fit(curve.Points), Curve: curve));
        if (!fits.TryGetValue(experiment.Baseline, out var attention)) yield break;
        double scale = attention.Curve.Points.Max(point => point.Scale);
        yield return "| family | E | exponent | FLOPs that attention needs for the same loss, over its own |";
        yield return "| --- | --- | --- | --- |";
        foreach (var (name, item) in fits)
        {
            string ratio = name == experiment.Baseline ? "" : Figure.Ratio(item.Fit.EfficiencyOver(attention.Fit, scale));
            yield return $"| {name} | {Figure.Interval(item.Fit.Irreducible)} | {Figure.Interval(item.Fit.Exponent)} | {ratio} |";
        }
        yield return "";
    }

    /// <summary>
    /// Returns the lines of the table of token efficiency: the tokens of attention, over those after which a design of the same size has attention's
    /// last training loss. The design still has a higher learning rate at that moment.
    /// </summary>
    public IEnumerable<string> Tokens()
    {
        string[] sizes = [.. size.ScalingWidths.Select(width => width == size.Width ? "" : $", width {width}")];
        string[] kinds = [.. experiment.Names.Take(experiment.Names.Count / sizes.Length).Where(name => name != experiment.Baseline)];
        yield return "Tokens of attention, over those after which the design has attention's last training loss (mean over seeds, 95 % interval):";
        yield return "";
        yield return $"| design | {string.Join(" | ", size.ScalingWidths.Select(width => $"width {width}"))} |";
        yield return $"| --- |{string.Concat(sizes.Select(_ => " --- |"))}";
        foreach (string kind in kinds)
            yield return $"| {kind} | {string.Join(" | ", sizes.Select(width => RatioOf(experiment.Baseline + width, kind + width)))} |";
        yield return "";
    }

    string RatioOf(string first, string second)
    {
        double[] ratios = [.. from one in part.Runs
            where one.Settings.Name == first && one.Training is not null
            from other in part.Runs
            where other.Settings.Name == second && other.Settings.Seed == one.Settings.Seed && other.Training is not null
            let last = one.Training!.Loss[^1]
            let tokens = TokensUntil(last.Loss, other.Training!.Loss)
            where tokens is not null
            select last.Tokens / tokens.Value];
        if (ratios.Length == 0) return "";
        // the interval of pairs with zeros is that of one mean
        var mean = PairedComparison.Compare(new double[ratios.Length], ratios);
        string text = mean.Difference.Value.ToString("0.00", Invariant);
        return mean.Interval is { } interval ? text + string.Create(Invariant, $" [{interval.Low:0.00}, {interval.High:0.00}]") : text;
    }

    // linear between two measurements
    static double? TokensUntil(double loss, IReadOnlyList<SweepLossPoint> curve)
    {
        for (int i = 1; i < curve.Count; i++)
        {
            var (before, after) = (curve[i - 1], curve[i]);
            if (after.Loss <= loss) return before.Tokens + (before.Loss - loss) / (before.Loss - after.Loss) * (after.Tokens - before.Tokens);
        }
        return null;
    }
}
