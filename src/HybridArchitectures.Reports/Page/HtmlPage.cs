using System.Globalization;
using System.Text;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Reports.Drawing;
using static HybridArchitectures.Reports.Drawing.SvgWriter;

namespace HybridArchitectures.Reports.Page;

/// <summary>Writes a report as one page that contains all styles, scripts and pictures. Its security policy blocks everything else.</summary>
sealed class HtmlPage
{
    readonly StringBuilder text = new();
    readonly RunReport report;

    HtmlPage(RunReport report) => this.report = report;

    public static string Write(RunReport report) => new HtmlPage(report).Write();

    string Write()
    {
        text.Append(PageFrame.Begin(report.Title, report.Description, Style(report.Runs.Count)));
        if (report.Created is { } created) Add($"<p class=\"soft\">{created:yyyy-MM-dd HH:mm zzz}</p>\n");
        Add($"</header>\n");
        Results();
        Losses();
        Designs();
        Samples();
        Facts();
        Footer();
        text.Append(PageFrame.End("page.js"));
        return text.ToString();
    }

    void Footer()
    {
        if (report.WhyNoJson() is { } why) Add($"<footer>The numbers are not written as JSON. {Escape(why)}");
        else Add($"<footer>The same numbers: <a href=\"report.json\">report.json</a>.");
        Add($" The curves as an image: <a href=\"loss.png\">loss.png</a>.</footer>\n");
    }

    void Results()
    {
        if (report.Runs.Count + report.Baselines.Count == 0) return;
        double[] reached = [.. report.Runs.Select(run => run.FinalHeldOutLoss).OfType<double>().Where(double.IsFinite)];
        double maxLoss = reached.Concat(report.Baselines.Select(line => line.HeldOutLoss)).Append(0).Max();
        double? best = reached.Length > 0 ? reached.Min() : null;
        Add($"""
            <section>
            <h2>Results</h2>
            <div class="wide"><table>
            <tr><th>run</th><th>parameters</th><th>without<br>embedding</th><th>tokens</th><th>time</th><th>tokens/s</th>
            <th>held-out,<br>{Escape(report.Unit)}</th></tr>

            """);
        foreach (var (run, index) in report.Runs.Select((run, index) => (run, index)))
        {
            var count = ParameterCount.FromDesign(run.Design);
            var active = count.Active == count.Total ? "" : $"<br><span class=\"soft\">{Figures.Short(count.Active)} active</span>";
            Add($"<tr><td>{Swatch(index)}{Escape(run.Name)}{Mini(run.Design)}</td>");
            Add($"<td title=\"{Figures.Full(count.Total)}\">{Figures.Short(count.Total)}{active}</td>");
            Add($"<td title=\"{Figures.Full(count.NonEmbedding)}\">{Figures.Short(count.NonEmbedding)}</td>");
            Add($"<td title=\"{Figures.Full(run.Tokens)}\">{(run.Tokens > 0 ? Figures.Short(run.Tokens) : "–")}</td>");
            Add($"<td>{(run.Seconds > 0 ? Figures.Duration(run.Seconds) : "–")}</td>");
            Add($"<td>{(run.MeanTokensPerSecond is { } speed ? Figures.Full((long)Math.Round(speed)) : "–")}</td>");
            Add($"<td>{Loss(run.FinalHeldOutLoss, maxLoss, RunLook.At(index).Ink.Name, run.FinalHeldOutLoss == best)}</td></tr>\n");
        }
        foreach (var line in report.Baselines)
        {
            Add($"<tr class=\"reference\"><td>{Escape(line.Name)}</td><td colspan=\"5\"></td>");
            Add($"<td>{Loss(line.HeldOutLoss, maxLoss, "soft", best: false)}</td></tr>\n");
        }
        Add($"</table></div>\n</section>\n");
    }

    static string Loss(double? loss, double maxLoss, string ink, bool best)
    {
        if (loss is not { } value) return "–";
        if (!double.IsFinite(value)) return Figures.Loss(value);
        var share = (maxLoss > 0 ? Math.Max(0, value) / maxLoss * 100 : 0).ToString("0.#", CultureInfo.InvariantCulture);
        var bar = $"<span class=\"bar\"><svg aria-hidden=\"true\"><rect class=\"f-{ink}\" width=\"{share}%\" height=\"8\" rx=\"4\"/></svg></span>";
        return $"<span class=\"loss\">{bar}<{(best ? "b class=\"best\"" : "span")}>{Figures.Loss(value)}</{(best ? "b" : "span")}></span>";
    }

    // a small strip: one bar per layer in the colour of its mixer
    static string Mini(HybridDesign design)
    {
        const int bar = 5, gap = 2;
        var svg = new StringBuilder();
        var pattern = Escape(design.Pattern);
        svg.Append(CultureInfo.InvariantCulture,
            $"<svg class=\"mini\" width=\"{design.Depth * (bar + gap)}\" height=\"14\" role=\"img\" aria-label=\"layers {pattern}\">");
        svg.Append(CultureInfo.InvariantCulture, $"<title>{pattern}</title>");
        for (int i = 0; i < design.Depth; i++)
        {
            var look = PartLook.From(design.Blocks[i].Mixer);
            void Bar(Ink ink, int y, int height) =>
                svg.Append(CultureInfo.InvariantCulture,
                    $"<rect class=\"f-{ink.Name}\" x=\"{i * (bar + gap)}\" y=\"{y}\" width=\"{bar}\" height=\"{height}\" rx=\"1\"/>");
            Bar(look.Fill ?? Inks.Plain, 2, 10);
            if (look.Second is { } second) Bar(second, 7, 5);
        }
        return svg.Append("</svg>").ToString();
    }

    void Losses()
    {
        if (report.Runs.All(run => run.Points.Count == 0)) return;
        Add($"""
            <section>
            <input class="switch" type="radio" name="axis" id="by-tokens" checked>
            <input class="switch" type="radio" name="axis" id="by-steps">
            <input class="switch" type="radio" name="axis" id="by-time">
            <div class="tabs"><label for="by-tokens">tokens</label><label for="by-steps">steps</label><label for="by-time">time</label></div>
            <h2>Loss</h2>
            <div class="legend">
            """);
        foreach (var (run, index) in report.Runs.Select((run, index) => (run, index)))
            Add($"<span>{Swatch(index)}{Escape(run.Name)}{(run.FinalHeldOutLoss is { } loss ? $" <b>{Figures.Loss(loss)}</b>" : "")}</span>");
        LegendOfBaselines();
        Add($"<span class=\"soft\">line: training loss, smoothed · dots: held-out loss · numbers: final held-out loss</span></div>\n");
        foreach (var (axis, panel) in ((LossAxis, string)[])[(LossAxis.Tokens, "tokens"), (LossAxis.Steps, "steps"), (LossAxis.Seconds, "time")])
            Add($"<div class=\"panel of-{panel}\">{LossChart.Write(report, axis)}</div>\n");
        Add($"</section>\n");
    }

    void LegendOfBaselines()
    {
        var frame = new LossFrame(report.Curves(), report.Baselines, LossAxis.Tokens, new LossPlotOptions().Smoothing);
        foreach (var line in report.Baselines)
        {
            Add($"<span class=\"soft\">{Line(Inks.Soft, 1.2f, LossPicture.BaselineDash)}{Escape(line.Name)} <b>{Figures.Loss(line.HeldOutLoss)}</b>");
            Add($"{(frame.Shows(line) ? "" : $" {frame.NoteOutside(line)}")}</span>");
        }
    }

    void Designs()
    {
        if (report.Runs.Count == 0) return;
        Add($"<section>\n<h2>Designs</h2>\n");
        foreach (var (run, index) in report.Runs.Select((run, index) => (run, index)))
        {
            var called = run.Design.Name is { Length: > 0 } name && name != run.Name ? $"{Escape(name)}, " : "";
            Add($"<div class=\"design\">\n<div class=\"head\"><h3>{Swatch(index)}{Escape(run.Name)}</h3>");
            Add($"<span class=\"soft\">{called}{StripPicture.Sizes(run.Design)}</span></div>\n");
            Add($"<div class=\"wide\">{Inline(StripPicture.Create(run.Design, heading: false), $"strip{index}")}</div>\n");
            Add($"<details><summary>parameters by part{(run.Facts.Count > 0 ? ", settings of the run" : "")}</summary>\n");
            Add($"<table class=\"facts parts\">\n");
            var count = ParameterCount.FromDesign(run.Design);
            foreach (var (part, parameters) in count.ByPart)
            {
                Add($"<tr><td>{Escape(Part(part, run.Design))}</td><td>{Figures.Full(parameters)}</td>");
                Add($"<td>{100.0 * parameters / count.Total:0.0}%</td></tr>\n");
            }
            Add($"<tr><td>total</td><td>{Figures.Full(count.Total)}</td><td></td></tr>\n</table>\n");
            Table(run.Facts);
            Add($"</details>\n</div>\n");
        }
        Add($"</section>\n");
    }

    // converts "mixer M" of a count to the text of the legend
    static string Part(string part, HybridDesign design)
    {
        var named = design.Blocks.Select(block => block.Mixer).FirstOrDefault(mixer => mixer is not null && part == $"mixer {mixer.Symbol}");
        return named is null ? part : PartLook.From(named).Name;
    }

    void Samples()
    {
        if (report.Runs.All(run => run.Samples.Count == 0)) return;
        Add($"<section>\n<h2>Written by the models</h2>\n");
        foreach (var (run, index) in report.Runs.Select((run, index) => (run, index)))
            foreach (var sample in run.Samples)
            {
                Add($"<div class=\"sample\"><div class=\"head\"><h3>{Swatch(index)}{Escape(run.Name)}</h3>");
                Add($"<span class=\"soft\">{Escape(sample.Settings)}</span></div>");
                Add($"<pre><b>{Escape(sample.Prompt)}</b>{Escape(sample.Text)}</pre></div>\n");
            }
        Add($"</section>\n");
    }

    void Facts()
    {
        if (report.Facts.Count == 0) return;
        Add($"<section>\n<h2>Machine and settings</h2>\n");
        Table(report.Facts);
        Add($"</section>\n");
    }

    void Table(IReadOnlyList<ReportFact> facts)
    {
        if (facts.Count == 0) return;
        Add($"<table class=\"facts\">\n");
        foreach (var fact in facts) Add($"<tr><td class=\"soft\">{Escape(fact.Name)}</td><td>{Escape(fact.Value)}</td></tr>\n");
        Add($"</table>\n");
    }

    static string Swatch(int index) => Line(RunLook.At(index).Ink, 3, RunLook.At(index).Dash);

    static string Line(Ink ink, float width, Dash? dash)
    {
        var dashes = dash is null ? "" : $" stroke-dasharray=\"{dash.Svg}\"";
        return "<span class=\"swatch\"><svg width=\"26\" height=\"8\" aria-hidden=\"true\">"
            + string.Create(CultureInfo.InvariantCulture,
            $"<line class=\"s-{ink.Name}\" x2=\"26\" y1=\"4\" y2=\"4\" stroke-width=\"{width}\"{dashes}/></svg></span>");
    }

    void Add(FormattableString part) => text.Append(part.ToString(CultureInfo.InvariantCulture));
}
