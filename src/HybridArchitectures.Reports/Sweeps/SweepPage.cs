using System.Globalization;
using System.Text;
using HybridArchitectures.Cost;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Reports.Page;
using HybridArchitectures.Review;
using static HybridArchitectures.Reports.Drawing.SvgWriter;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>
/// Writes a sweep as one page. It contains its styles, script and pictures, and its security policy allows nothing else. It can be read without the
/// script.
/// </summary>
sealed class SweepPage(SweepReport report)
{
    /// <summary>The maximum number of designs of which every one is named in charts of quality and below them.</summary>
    public const int MaxNamedDesigns = 8;

    readonly StringBuilder text = new();
    readonly SweepResult result = report.Result;
    int pictures;

    public string Write()
    {
        text.Append(PageFrame.Begin(report.Title, report.Description, PageFrame.Resource("sweep.css") + Style(report.Colours) + HeatStyle()));
        Add($"<p class=\"soft\">{result.Designs.Count} designs, {result.Runs.Select(run => run.Settings.Seed).Distinct().Count()} seeds, ");
        Add($"{result.Runs.Count} runs");
        Add($"{(result.IsComplete ? "" : "; not complete")}</p>\n</header>\n");
        Legend();
        Quality();
        var tasks = result.Metrics.GroupBy(item => item.Task).ToArray();
        foreach (var group in tasks.Where(group => group.Key != SweepRun.TrainingTask)) Results(group.Key, [.. group.Select(item => item.Metric)]);
        Losses();
        Scaling();
        TaskCurves();
        HeatMaps();
        foreach (var group in tasks.Where(group => group.Key == SweepRun.TrainingTask)) Results(group.Key, [.. group.Select(item => item.Metric)]);
        Designs();
        Runs();
        text.Append(PageFrame.End("sweep.js"));
        return text.ToString();
    }

    void Legend()
    {
        Add($"<div class=\"legend designs\">");
        foreach (var (design, index) in result.Designs.Select((design, index) => (design, index)))
            Add($"<label><input type=\"checkbox\" checked data-design=\"{index}\">{Swatch(index)}{Escape(design)}</label>");
        Add($"</div>\n");
    }

    void Results(string task, IReadOnlyList<Metric> metrics)
    {
        Add($"<section>\n<h2>{Escape(task)}</h2>\n<p class=\"soft\">{Escape(Protocol(task))} Mean over seeds ± standard error; differences from ");
        Add($"{Escape(report.BaselineName)} in pairs of equal seeds, with the p of the paired t test.</p>\n<div class=\"wide\"><table ");
        Add($"class=\"sortable\">\n<thead><tr><th>design</th><th>seeds</th>");
        foreach (var metric in metrics)
        {
            string unit = metric.Unit.Length > 0 && metric.Unit != metric.Name ? $"<br><span class=\"soft\">{Escape(metric.Unit)}</span>" : "";
            Add($"<th>{Escape(metric.Name)}{unit}</th><th>difference</th>");
        }
        Add($"</tr></thead>\n<tbody>\n");
        foreach (var (design, index) in result.Designs.Select((design, index) => (design, index)))
        {
            int seeds = metrics.Max(metric => result.Values(design, task, metric.Name).Count);
            Add($"<tr data-design=\"{index}\"><td>{Swatch(index)}{Escape(design)}</td><td>{seeds}</td>");
            foreach (var metric in metrics) Cells(design, task, metric);
            Add($"</tr>\n");
        }
        Add($"</tbody></table></div>\n</section>\n");
    }

    string Protocol(string task) => result.Runs.SelectMany(run => run.AllTasks).First(found => found.Task == task).Protocol;

    void Cells(string design, string task, Metric metric)
    {
        var mean = result.Mean(design, task, metric.Name);
        double[] means = [.. result.Designs.Select(name => result.Mean(name, task, metric.Name)?.Value).OfType<double>().Where(double.IsFinite)];
        bool isBest = mean is not null && means.Length > 1 && means.Max() > means.Min()
            && mean.Value.Equals(metric.HigherIsBetter ? means.Max() : means.Min());
        string value = mean is null ? "–"
            : $"{Number(mean.Value)}{(mean.StandardError is { } error ? $"<span class=\"soft\"> ± {Number(error)}</span>" : "")}";
        Add($"<td data-value=\"{mean?.Value ?? double.NaN:r}\">{(isBest ? $"<b class=\"best\">{value}</b>" : value)}</td>");
        var comparison = design == report.BaselineName ? null : result.Compare(report.BaselineName, design, task, metric.Name);
        if (comparison is null)
        {
            Add($"<td class=\"soft\">–</td>");
            return;
        }
        string p = comparison.Probability is { } probability ? $", {Escape(probability)}" : "";
        string sign = comparison.Difference.Value > 0 ? "+" : "";
        Add($"<td data-value=\"{comparison.Difference.Value:r}\" ");
        Add($"class=\"{(comparison.IsBelowNoise ? "soft" : "")}\">{sign}{Number(comparison.Difference.Value)}{p}");
        Add($"{(comparison.IsBelowNoise ? "<br>below noise" : "")}</td>");
    }

    void Quality()
    {
        var (task, metric) = report.QualityMetric;
        if (metric is null) return;
        Add($"<section>\n<h2>Quality against cost</h2>\n<p class=\"soft\">Quality is the metric {Escape(metric.Name)} of the task ");
        Add($"{Escape(task)}. Filled: on the frontier; hollow: ");
        Add($"another design is at least as good in both.</p>\n<div class=\"charts\">\n");
        foreach (var axis in SweepAxis.ForResult(result))
        {
            var points = report.Points(axis);
            if (points.Count == 0) continue;
            Add($"<figure>{Chart(SweepPictures.Scatter(points, axis, Label(metric), metric.HigherIsBetter))}<figcaption class=\"soft\">");
            Add($"{Dominance(points, axis, metric.HigherIsBetter)}</figcaption></figure>\n");
        }
        Add($"</div>\n</section>\n");
    }

    // which design is dominated by which; of many designs only those that are not
    static string Dominance(IReadOnlyList<ScatterPoint> points, SweepAxis axis, bool isHighBetter)
    {
        static string Names(IEnumerable<ScatterPoint> named) => string.Join(", ", named.Select(point => Escape(point.Name)));
        if (points.Count > MaxNamedDesigns)
        {
            var front = ParetoFront.Find(points, axis.IsCheapLow, isHighBetter);
            return $"On the frontier: {Names(front)}. {points.Count - front.Count} of {points.Count} designs are dominated.";
        }
        string[] lines = [.. points.Select(point => (point, better: ParetoFront.Dominators(points, point, axis.IsCheapLow, isHighBetter)))
            .Where(item => item.better.Count > 0).Select(item => $"{Escape(item.point.Name)} is dominated by {Names(item.better)}.")];
        return lines.Length == 0 ? "No design is dominated." : string.Join(" ", lines);
    }

    static string Label(Metric metric) => metric.Unit.Length > 0 && metric.Unit != metric.Name ? $"{metric.Name} ({metric.Unit})" : metric.Name;

    void Losses()
    {
        var training = report.LossCurves(run => run.Loss);
        var heldOut = report.LossCurves(run => run.HeldOutLoss);
        if (training.Count + heldOut.Count == 0) return;
        Add($"<section>\n<h2>Loss</h2>\n<p class=\"soft\">One colour per design, one line per seed.</p>\n<div class=\"charts\">\n");
        if (training.Count > 0) Add(
            $"<figure>{Chart(SweepPictures.Curves("Training loss", "tokens", "training loss (nats per token)", training))}</figure>\n");
        if (heldOut.Any(curve => curve.Points.Count > 1))
            Add($"<figure>{Chart(SweepPictures.Curves("Held-out loss", "tokens", "held-out loss (nats per token)", heldOut))}</figure>\n");
        Add($"</div>\n</section>\n");
    }

    void Scaling()
    {
        if (report.Fits.Count == 0) return;
        Add($"<section>\n<h2>Scaling</h2>\n<p class=\"soft\">Fits of loss = E + A x<sup>-α</sup> with 95 % bootstrap intervals ");
        Add($"(dashed lines).</p>\n");
        foreach (var axis in report.Fits) Scaling(axis.Key, [.. axis]);
        Add($"</section>\n");
    }

    void Scaling(string axis, FittedCurve[] curves)
    {
        Add($"<div class=\"charts\">\n<figure>{Chart(SweepPictures.Scaling(curves, axis))}");
        Add($"<figcaption class=\"soft\">Loss by {Escape(axis)}</figcaption></figure>\n</div>\n");
        Add($"<div class=\"wide\"><table>\n<thead><tr><th>{Escape(axis)}</th><th>E</th><th>α</th><th>loss at the largest scale</th>");
        Add($"<th>{Escape(curves[0].Curve.Name)} needs, for the same loss</th></tr></thead>\n<tbody>\n");
        foreach (var curve in curves)
        {
            Add($"<tr><td>{Swatch(curve.Index)}{Escape(curve.Curve.Name)}</td><td>{Interval(curve.Fit.Irreducible)}</td>");
            Add($"<td>{Interval(curve.Fit.Exponent)}</td><td>{Interval(curve.Fit.LossAt(curve.MaxScale))}</td>");
            Add($"<td>{Ratio(curves[0], curve, axis)}</td></tr>\n");
        }
        Add($"</tbody></table></div>\n");
    }

    static string Interval(BootstrapInterval interval) =>
        $"{Number(interval.Value)} <span class=\"soft\">[{Number(interval.Low)}, {Number(interval.High)}]</span>";

    static string Ratio(FittedCurve baseline, FittedCurve curve, string axis)
    {
        if (ReferenceEquals(baseline, curve)) return "<span class=\"soft\">–</span>";
        var ratio = curve.Fit.EfficiencyOver(baseline.Fit, curve.MaxScale);
        if (double.IsInfinity(ratio.Low)) return "never reaches it";
        return $"{Bounded(ratio.Value)} <span class=\"soft\">[{Bounded(ratio.Low)}, {Bounded(ratio.High)}]</span> times the {Escape(axis)}";
    }

    // a ratio over 1,000 is far outside the measured scales
    static string Bounded(double ratio) => ratio > 1000 ? "over 1,000" : Number(ratio);

    void TaskCurves()
    {
        var groups = result.Runs.SelectMany(run => run.Tasks.SelectMany(task => task.Curves.Select(curve => (run, curve))))
            .GroupBy(item => item.curve.Title).ToArray();
        if (groups.Length == 0) return;
        Add($"<section>\n<h2>Curves</h2>\n<div class=\"charts\">\n");
        foreach (var group in groups)
        {
            var first = group.First().curve;
            var picture = SweepPictures.Curves(group.Key, first.XTitle, first.YTitle,
                [.. group.Select(item => (report.IndexOf(item.run), item.curve.Points))]);
            Add($"<figure>{Chart(picture)}");
            Add($"<figcaption class=\"soft\">{Escape(group.Key)}</figcaption></figure>\n");
        }
        Add($"</div>\n</section>\n");
    }

    void HeatMaps()
    {
        var maps = result.Runs.SelectMany(run => run.Tasks.SelectMany(task => task.HeatMaps.Select(map => (run, map))))
            .Where(item => item.map.Rows.Count > 0 && item.map.Columns.Count > 0).ToArray();
        if (maps.Length == 0) return;
        long first = maps.Min(item => item.run.Settings.Seed);
        Add($"<section>\n<h2>Heat maps</h2>\n");
        foreach (var group in maps.GroupBy(item => item.map.Title))
        {
            var others = group.Where(item => item.run.Settings.Seed != first).ToArray();
            Add($"<h3>{Escape(group.Key)}</h3>\n<div class=\"charts\">\n");
            foreach (var (run, map) in group.Except(others)) HeatMap(run, map);
            Add($"</div>\n");
            if (others.Length == 0) continue;
            Add($"<details><summary>other seeds</summary><div class=\"charts\">\n");
            foreach (var (run, map) in others) HeatMap(run, map);
            Add($"</div></details>\n");
        }
        Add($"</section>\n");
    }

    void HeatMap(SweepRun run, HeatMap map)
    {
        int index = report.IndexOf(run);
        Add($"<figure class=\"map\" data-design=\"{index}\">{Chart(SweepPictures.Heat(map, run.Settings.Name))}<figcaption>{Swatch(index)}");
        Add($"{Escape(run.Settings.Name)}, seed {run.Settings.Seed}</figcaption></figure>\n");
    }

    void Designs()
    {
        Add($"<section>\n<h2>Designs</h2>\n");
        foreach (var (name, index) in result.Designs.Select((name, index) => (name, index)))
        {
            var settings = result.Runs.First(run => run.Settings.Name == name).Settings;
            Add($"<div class=\"design\" data-design=\"{index}\">\n<div class=\"head\"><h3>{Swatch(index)}{Escape(name)}</h3>");
            Add($"<span class=\"soft\">{Escape(settings.Design.Pattern)}, {Figures.Full(settings.Design.CountParameters().Total)} parameters, peak ");
            Add($"rate {settings.LearningRate:0.######}</span></div>\n");
            Add($"<div class=\"wide\">{Inline(StripPicture.Create(settings.Design, heading: false), $"strip{index}")}</div>\n");
            var review = settings.Design.Review(new ReviewOptions { TrainingLength = settings.ContextLength });
            Add($"<details><summary>{review.Count} review findings</summary><ul>\n");
            foreach (var finding in review) Add($"<li>{Escape(finding.ToString())}</li>\n");
            Add($"</ul></details>\n</div>\n");
        }
        Add($"</section>\n");
    }

    void Runs()
    {
        Add($"<section>\n<h2>Runs</h2>\n");
        Add($"<p class=\"soft\">A run is made again by its design (design.json of its checkpoint), seed and options.</p>\n");
        foreach (var run in result.Runs)
        {
            var (settings, training) = (run.Settings, run.Training);
            int index = report.IndexOf(run);
            string state = training is null ? "not complete" : training.Failure is not null ? "failed"
                : $"{Figures.Full(training.Tokens)} tokens in {Figures.Duration(training.Seconds)}";
            Add($"<details data-design=\"{index}\"><summary>{Swatch(index)}{Escape(settings.Name)}, seed {settings.Seed}, {state}</summary>\n");
            Add($"<table class=\"facts\">\n");
            (string, string)[] facts =
            [
                ("folder", Path.GetFileName(run.Folder)), ("options", settings.Options), ("data", settings.Data),
                    ("held-out data", settings.HeldOut ?? "none"),
                ("library", settings.Environment.Library), ("runtime", $"{settings.Environment.Runtime}, {settings.Environment.System}"),
                ("device", $"{settings.Environment.Device}, {settings.Environment.Processors} processors, {settings.Environment.Threads} threads"),
            ];
            foreach (var (name, value) in facts.Concat(training?.Failure is { } failure ? [("failure", failure)] : []))
                Add($"<tr><td class=\"soft\">{Escape(name)}</td><td>{Escape(value)}</td></tr>\n");
            Add($"</table></details>\n");
        }
        Add($"</section>\n");
    }

    string Chart(Picture picture) => Inline(picture, $"chart{pictures++}");

    static string Number(double value) => Math.Abs(value) switch
    {
        >= 10_000 => Figures.Short(value),
        >= 100 => value.ToString("0", CultureInfo.InvariantCulture),
        >= 10 => value.ToString("0.0", CultureInfo.InvariantCulture),
        _ => value.ToString("0.0000", CultureInfo.InvariantCulture),
    };

    static string HeatStyle() => string.Concat(HeatInks.All.Select(ink => $".f-{ink.Name}{{fill:#{ink.Light}}}\n"));

    static string Swatch(int index) =>
        $"<span class=\"swatch\"><svg width=\"14\" height=\"10\" aria-hidden=\"true\"><circle class=\"f-{RunLook.At(index).Ink.Name}\" cx=\"6\" "
            + $"cy=\"5\" r=\"5\"/></svg></span>";

    void Add(FormattableString part) => text.Append(part.ToString(CultureInfo.InvariantCulture));
}
