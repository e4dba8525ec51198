using System.Text.RegularExpressions;
using System.Xml.Linq;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Reports.Sweeps;

namespace HybridArchitectures.Reports.Tests;

public sealed class SweepReportTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static SweepRun Run(string name, string pattern, long seed, double loss, double speed)
    {
        var start = HybridDesign.Create(32, 256).WithFeedForward(FeedForwardSpec.SwiGlu(64)).WithAttention(heads: 2)
            .WithMamba2(stateSize: 16, headSize: 16);
        var settings = new SweepRunSettings(name, seed, start.Pattern(pattern).Build(), "options <&>", 1e-3, 128, "data", "held out",
            new SweepEnvironment("Linux", ".NET", "1.0", "cpu", 2, 1, DateTimeOffset.UnixEpoch));
        SweepLossPoint[] points = [.. Enumerable.Range(1, 20).Select(i => new SweepLossPoint(i, 100 * i, i, loss + 3.0 / i))];
        var map = new HeatMap("needle", "depth", ["0 %", "100 %"], "tokens", ["128", "256"], [[1, 0.5], [0.25, null]]);
        var curve = new MeasuredCurve("Loss by position", "position", "nats per token", [new(8, loss), new(24, loss + 0.1)]);
        return new SweepRun($"/runs/{name}-{seed}", settings, new SweepTraining(20, 2000, 20, speed, points, [points[^1]]),
            [new TaskResult("held-out loss", "Over <some> tokens.", [new Metric("loss", loss, 0.01, 100, "nats per token", HigherIsBetter: false)],
                [map], [curve])]);
    }

    static SweepResult Result => new(
    [
        Run("attention", "TT", 1, 1.50, 100), Run("Mamba <2>", "MM", 1, 1.60, 90), Run("hybrid", "MT", 1, 1.40, 150),
        Run("attention", "TT", 2, 1.52, 100), Run("Mamba <2>", "MM", 2, 1.58, 90), Run("hybrid", "MT", 2, 1.42, 150),
    ], true);

    [Fact]
    public void The_frontier_is_what_no_other_design_betters()
    {
        static ScatterPoint Point(string name, double cost, double quality) => new(name, 0, cost, quality, null);
        // low losses at low costs are good: c is worse than a in both, d costs more than b for the same
        ScatterPoint[] points = [Point("a", 1, 2), Point("b", 3, 1), Point("c", 2, 2.5), Point("d", 4, 1)];
        Assert.Equal(["a", "b"], ParetoFront.Find(points, isCheapLow: true, isHighBetter: false).Select(point => point.Name));
        Assert.Equal(["b"], ParetoFront.Dominators(points, points[3], true, false).Select(point => point.Name));
        // with speeds, and accuracies: d is the fastest, c the most accurate
        Assert.Equal(["c", "d"], ParetoFront.Find([Point("a", 1, 2), Point("b", 2, 1), Point("c", 3, 2.5), Point("d", 4, 1)], false, true)
            .Select(point => point.Name));
    }

    [Fact]
    public void The_page_needs_nothing_outside_itself_and_names_what_is_dominated()
    {
        string html = new SweepReport(Result) { Title = "Ratios & <designs>" }.ToHtml();
        Assert.Contains("<h1>Ratios &amp; &lt;designs&gt;</h1>", html);
        Assert.DoesNotContain("Mamba <2>", html);
        Assert.DoesNotContain("http://", html.Replace("http://www.w3.org/2000/svg", "", StringComparison.Ordinal));
        Assert.DoesNotContain("https://", html);
        Assert.DoesNotMatch("<(img|link|script src)", html);
        Assert.Contains("Content-Security-Policy", html);
        // the hybrid is better and faster than the others
        Assert.Contains("attention is dominated by hybrid.", html);
        Assert.Contains("Mamba &lt;2&gt; is dominated by attention, hybrid.", html);
        foreach (string part in new[] { "Quality against cost", "Loss", "Heat maps", "Designs", "Runs", "review findings", "1.5100",
            "options &lt;&amp;&gt;" }) Assert.Contains(part, html);
    }

    [Fact]
    public void Names_in_a_chart_of_quality_lie_off_the_bars_of_errors_and_the_frontier()
    {
        ScatterPoint[] points = [new("attention", 0, 1080, 4.83, 0.68), new("Mamba-2", 1, 2205, 5.06, 0.12), new("hybrid 1:3", 2, 973, 5.37, 0.17),
            new("hybrid 1:1", 3, 1668, 5.16, 0.39)];
        var axis = new SweepAxis("decode-throughput", "tokens/s", IsCheapLow: false, IsLogarithmic: false, _ => null);
        var shapes = SweepPictures.Scatter(points, axis, "loss", isHighBetter: false).Shapes;
        var names = shapes.OfType<Drawing.Shape.Text>().Where(text => points.Any(point => point.Name == text.Content)).ToArray();
        Assert.Equal(points.Length, names.Length);
        var frontier = shapes.OfType<Drawing.Shape.Curve>().Single().Points;
        var lines = shapes.OfType<Drawing.Shape.Segment>().Where(line => line.Width == 1.5f).Select(bar => (bar.X1, bar.Y1, bar.X2, bar.Y2))
            .Concat(frontier.Zip(frontier.Skip(1), (from, to) => (from.X, from.Y, to.X, to.Y))).ToArray();
        Assert.Equal(points.Length + frontier.Count - 1, lines.Length);
        foreach (var name in names)
        {
            float right = name.X + Drawing.ReportFont.Measure(name.Content, name.Size, bold: false);
            Assert.DoesNotContain(lines, line => Math.Min(line.Item1, line.Item3) < right && Math.Max(line.Item1, line.Item3) > name.X
                && Math.Min(line.Item2, line.Item4) < name.Y + name.Size / 2 && Math.Max(line.Item2, line.Item4) > name.Y - name.Size / 2);
        }
    }

    [Fact]
    public void Names_that_must_be_drawn_stay_inside_the_picture_where_there_is_no_free_place()
    {
        const float width = 420, height = 240;
        // the names of points at the right edge are half as wide as the picture, and more than fit
        PointName[] points = [.. Enumerable.Range(0, 24).Select(i => new PointName($"a name of many letters, {i}", 410, 10 * i, Drawing.Inks.Text))];
        var names = new PointNames(width, height, []).Place(points, points.Length).OfType<Drawing.Shape.Text>().ToArray();
        Assert.Equal(points.Length, names.Length);
        Assert.All(names, name => Assert.True(name.X > 0 && name.X + Drawing.ReportFont.Measure(name.Content, name.Size, bold: false) < width));
    }

    [Fact]
    public void Names_of_many_points_that_may_be_left_out_are_close_to_their_points()
    {
        PointName[] points = [.. Enumerable.Range(0, 30).Select(i => new PointName($"design {i}", 200 + i % 5, 60 + 4 * i, Drawing.Inks.Text))];
        var shapes = new PointNames(420, 240, []).Place(points, always: 2);
        var names = shapes.OfType<Drawing.Shape.Text>().ToArray();
        Assert.InRange(names.Length, 6, points.Length - 1);
        Assert.Equal(["design 0", "design 1"], names[..2].Select(name => name.Content));
        Assert.All(shapes.OfType<Drawing.Shape.Segment>(), line => Assert.True(Math.Abs(line.X2 - line.X1) + Math.Abs(line.Y2 - line.Y1) < 25));
    }

    [Fact]
    public void Names_of_close_points_lie_off_each_other_and_lines_lead_to_those_that_are_far()
    {
        var points = Enumerable.Range(0, 8).Select(i => new ScatterPoint($"inter 1:{i}", i, 1000 + 30 * i, 3.5 + 0.01 * (i % 3), null));
        var axis = new SweepAxis("speed", "tokens/s", IsCheapLow: false, IsLogarithmic: false, _ => null);
        var shapes = SweepPictures.Scatter([.. points, new("attention", 9, 3000, 4.5, null)], axis, "loss", isHighBetter: false).Shapes;
        var circles = shapes.OfType<Drawing.Shape.Circle>().ToArray();
        var names = shapes.OfType<Drawing.Shape.Text>().Where(text => text.Content.StartsWith("inter", StringComparison.Ordinal))
            .Select(text => (text.Content, Left: text.X, Right: text.X + Drawing.ReportFont.Measure(text.Content, text.Size, bold: false), text.Y))
            .ToArray();
        Assert.True(names.Length >= 6, $"{names.Length} names");
        foreach (var name in names)
        {
            Assert.DoesNotContain(names, other => other != name && other.Left < name.Right && other.Right > name.Left
                && Math.Abs(other.Y - name.Y) < 11);
            Assert.DoesNotContain(circles, circle => circle.X > name.Left - 5 && circle.X < name.Right + 5 && Math.Abs(circle.Y - name.Y) < 10);
        }
        // a line has the colour of its point and begins next to it
        var leads = shapes.OfType<Drawing.Shape.Segment>().Where(line => line.Width == 0.8f).ToArray();
        Assert.NotEmpty(leads);
        Assert.All(leads, line => Assert.Contains(circles, circle => Math.Abs(Math.Sqrt(Math.Pow(circle.X - line.X1, 2)
            + Math.Pow(circle.Y - line.Y1, 2)) - 7) < 1 && (circle.Fill == line.Stroke || circle.Outline == line.Stroke)));
    }

    [Fact]
    public void On_paper_a_table_stays_with_its_text_and_on_a_screen_its_designs_stay_in_sight()
    {
        string html = new SweepReport(Result).ToHtml();
        Assert.Contains("section > p { break-inside: avoid; break-after: avoid; }", html);
        Assert.Matches(@"figure, table, [^}]*break-inside: avoid", html);
        Assert.Matches(@"\.wide td:first-child \{ position: sticky; left: 0; background: var\(--card\)", html);
    }

    [Fact]
    public void Of_many_designs_only_the_frontier_is_listed()
    {
        // nine designs of equal cost: the first one has the lowest loss
        var many = new SweepResult([.. Enumerable.Range(0, 9).Select(i => Run($"design {i}", "TT", 1, 1.5 + 0.01 * i, 100))], true);
        string html = new SweepReport(many).ToHtml();
        Assert.Contains("On the frontier: design 0. 8 of 9 designs are dominated.", html);
        Assert.DoesNotContain("is dominated by", html);
    }

    [Fact]
    public void Differences_are_paired_and_noise_is_labelled()
    {
        string html = new SweepReport(Result).ToHtml();
        // hybrid minus attention is -0.1 for both seeds; Mamba minus attention is 0.1 and 0.06, with a p of 0.156
        Assert.Contains(">-0.1000", html);
        Assert.Contains(">+0.0800, p 0.156<br>below noise", html);
        double[] losses = [1.5, 1.5004, 1.5008];
        string clear = new SweepReport(new SweepResult([.. losses.SelectMany((loss, i) => (SweepRun[])
            [Run("attention", "TT", i + 1, loss, 100), Run("hybrid", "MT", i + 1, loss - 0.1 * (1 + loss / 100), 150)])], true)).ToHtml();
        Assert.Contains(", p &lt; 0.001</td>", clear);
        Assert.Contains("expected one of attention", Assert.Throws<ArgumentException>(() => new SweepReport(Result) { Baseline = "x" }.ToHtml())
            .Message);
        Assert.Contains("differences from hybrid", new SweepReport(Result) { Baseline = "hybrid" }.ToHtml());
    }

    [Fact]
    public void Its_markup_is_well_formed_and_its_ids_are_unique()
    {
        string html = new SweepReport(Result).ToHtml();
        var ids = Regex.Matches(html, " id=\"([^\"]*)\"").Select(match => match.Groups[1].Value).ToArray();
        Assert.Equal(ids.Length, ids.Distinct().Count());
        foreach (Match svg in Regex.Matches(html, "<svg.*?</svg>", RegexOptions.Singleline)) XElement.Parse(svg.Value);
        foreach (string tag in new[] { "section", "table", "figure", "details", "div", "tr", "td" })
            Assert.Equal(Regex.Matches(html, $"<{tag}[ >]").Count, Regex.Matches(html, $"</{tag}>").Count);
        // every colour that is used is defined
        foreach (Match used in Regex.Matches(html, "class=\"(?:f|s)-(run\\d+|heat\\d+)")) Assert.Contains($"-{used.Groups[1].Value}{{", html);
    }

    // losses of exactly 1 + 2 x^-0.5 with x in units of the first scale
    static ScalingCurve Law(string name, double factor) => new(name, ScalingCurve.Tokens,
        [.. new double[] { 1e6, 2e6, 4e6, 8e6 }.Select(tokens => new ScalingPoint(tokens, 1 + 2 * Math.Pow(tokens * factor / 1e6, -0.5)))]);

    [Fact]
    public void Scaling_fits_are_drawn_with_intervals_and_the_token_efficiency()
    {
        var report = new SweepReport(Result) { Scaling = [
            Law("attention <a>", 1), Law("hybrid", 2), new("short", ScalingCurve.Tokens, [new(1, 2)])] };
        string html = report.ToHtml();
        Assert.Contains("<h2>Scaling</h2>", html);
        Assert.Contains("attention &lt;a&gt; needs, for the same loss", html);
        // the hybrid reaches every loss with half of the tokens
        Assert.Contains("<td>2.0000 <span class=\"soft\">[2.0000, 2.0000]</span> times the training tokens</td>", html);
        Assert.Contains("<td>1.0000 <span class=\"soft\">[1.0000, 1.0000]</span></td><td>0.5000", html);
        Assert.DoesNotContain("short", html);
        // the hybrid has its colour, and a name that is no design another one
        Assert.Equal([3, 2], report.Fits.Single().Select(curve => curve.Index));
        report.Write(Path.Combine(folder.Path, "scaling"));
        XElement.Parse(File.ReadAllText(Path.Combine(folder.Path, "scaling", "scaling-training-tokens.svg")));
        Assert.DoesNotContain("<h2>Scaling</h2>", new SweepReport(Result).ToHtml());
    }

    [Fact]
    public void Families_of_a_sweep_are_fitted_by_parameters_and_operations()
    {
        SweepRun Sized(int width, double loss)
        {
            var run = Run($"w{width}", "MT", 1, loss, 100);
            var design = HybridDesign.Create(width, 256).WithFeedForward(FeedForwardSpec.SwiGlu(64)).WithAttention(heads: 2).Pattern("TT").Build();
            return run with { Settings = run.Settings with { Design = design, Family = "attention" } };
        }
        var curves = ScalingCurve.FromSweep(new SweepResult([Sized(32, 2), Sized(64, 1.8), Sized(128, 1.7), Run("other", "MM", 1, 1, 1)], true));
        // all have the same number of tokens
        Assert.Equal([ScalingCurve.Parameters, ScalingCurve.Flops], curves.Select(curve => curve.Axis));
        Assert.All(curves, curve => Assert.Equal(("attention", 3), (curve.Name, curve.Points.Count)));
    }

    [Fact]
    public void Dense_heat_maps_have_tooltips_and_large_numbers_few_decimals()
    {
        string[] heads = [.. Enumerable.Range(0, 20).Select(i => $"{i}")];
        var dense = SweepPictures.Heat(new HeatMap("mass", "block", ["1"], "head", heads, [[.. heads.Select(_ => (double?)0.25)]]), "a");
        Assert.Equal(20, dense.Shapes.OfType<Drawing.Shape.Group>().Count(group => group.Title.EndsWith(": 0.25", StringComparison.Ordinal)));
        var large = SweepPictures.Heat(new HeatMap("memory", "block", ["1"], "quantile", ["median", "longest"], [[12.34, 1234.4]], Max: 2000), "a");
        Assert.Equal(["12.3", "1234"], large.Shapes.OfType<Drawing.Shape.Text>().Select(text => text.Content).Where(text => text.StartsWith('1'))
            .Where(text => text.Length > 1));
        Assert.NotEmpty(SweepPictures.Heat(new HeatMap("flat", "a", ["1"], "b", ["2"], [[0.0]], Min: 0, Max: 0), "a").Shapes);
    }

    [Fact]
    public void Files_are_written_with_their_figures()
    {
        new SweepReport(Result).Write(Path.Combine(folder.Path, "report"));
        Assert.Equal(["index.html", "loss.png", "loss.svg", "quality-cache.png", "quality-cache.svg", "quality-flops.png", "quality-flops.svg",
            "quality-speed.png", "quality-speed.svg"],
            Directory.GetFiles(Path.Combine(folder.Path, "report")).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        XElement.Parse(File.ReadAllText(Path.Combine(Path.Combine(folder.Path, "report"), "quality-cache.svg")));
        Assert.Throws<ArgumentException>(() => new SweepReport(new SweepResult([], true)));
    }

    [Fact]
    public void A_metric_of_quality_that_no_run_has_is_refused()
    {
        Assert.Contains("metric is 'los'; expected one of 'loss'", Assert.Throws<ArgumentException>(() =>
            new SweepReport(Result) { Quality = ("held-out loss", "los") }.ToHtml()).Message);
        var none = new SweepResult([.. Result.Runs.Select(run => run with { Training = null, Tasks = [] })], false);
        Assert.Contains("not complete", new SweepReport(none) { Quality = ("held-out loss", "loss") }.ToHtml());
    }

    static SweepTraining Losses(params double[] losses)
    {
        SweepLossPoint[] points = [.. losses.Select((loss, i) => new SweepLossPoint(i + 1, 100 * (i + 1), i, loss))];
        return new(losses.Length, 100 * losses.Length, 3, 10, points, [.. points.TakeLast(1)]);
    }

    static SweepRun With(string name, SweepTraining? training, params TaskResult[] tasks) =>
        Run(name, "TT", 1, 1, 100) is var run ? run with
        {
            Settings = run.Settings with { Family = "family" }, Training = training, Tasks = tasks,
        } : run;

    static TaskResult Task(double value, double? error = null, HeatMap[]? maps = null, MeasuredCurve[]? curves = null) =>
        new("task", "Protocol.", [new("metric", value, error)], maps ?? [], curves ?? []);

    // results that a run can leave behind
    static readonly Dictionary<string, SweepRun[]> odd = new()
    {
        ["not trained"] = [With("a", null)],
        ["not trained but measured"] = [With("a", null, Task(1)), With("b", null, Task(2))],
        ["all failed"] = [With("a", new(1, 1, 1, 0, [], [], "not finite"))],
        ["one failed"] = [With("a", new(1, 1, 1, 0, [], [], "not finite")), With("b", Losses(2, 1))],
        ["not finite"] = [With("a", Losses(1, double.NaN), Task(double.NaN)), With("b", Losses(double.PositiveInfinity), Task(1, double.NaN))],
        ["large"] = [With("a", Losses(1e300, 1e308), Task(1e308, 1e308)), With("b", Losses(-1e308), Task(-1e308))],
        ["small"] = [With("a", Losses(5e-324), Task(5e-324)), With("b", Losses(0, 0), Task(0))],
        ["nearly equal"] = [With("a", Losses(1e9), Task(1e9)), With("b", Losses(1e9 + 1e-6), Task(1e9 + 1e-6))],
        ["names"] = [With("\u6CE8\u610F", Losses(1)), With("a\u0001\u202Eb", Losses(1)), With("\ud83d", Losses(1)),
            With(new('x', 3000), Losses(1))],
        ["one scale not finite"] = [With("a", Losses(3)), With("b", Losses(2, double.NaN)), With("c", Losses(2, 1, 1)),
            With("d", Losses(2, 1, 1, 0.8))],
        ["empty pictures"] = [With("a", Losses(1), Task(1, null,
            [new("map", "row", [], "column", [], []), new("map", "row", ["1"], "column", [], [[]])], [new("curve", "x", "y", [])]))],
        ["pictures not finite"] = [With("a", Losses(1), Task(1, null, [new("map", "row", ["1"], "column", ["1"], [[double.NaN]])],
            [new("curve", "x", "y", [new(double.NaN, 1), new(1, double.NaN), new(double.PositiveInfinity, 1), new(2, 1)])]))],
    };

    public static TheoryData<string> OddResults => [.. odd.Keys];

    /// <summary>Ticks of a range of 5e-324 filled the memory, and a held-out loss that is not finite stopped the page.</summary>
    [Theory, MemberData(nameof(OddResults))]
    public void A_page_can_be_written_of_any_results(string name)
    {
        new SweepReport(new(odd[name], true)).Write(folder.Path);
        Assert.True(new FileInfo(Path.Combine(folder.Path, "index.html")).Length < 1_000_000);
        foreach (string file in Directory.GetFiles(folder.Path, "*.svg"))
            Assert.All(XDocument.Load(file).Descendants().Attributes().Where(item => item.Name.LocalName is not ("id" or "aria-labelledby")),
                item => Assert.DoesNotMatch("NaN|Infinity|\u221E", item.Value));
    }
}
