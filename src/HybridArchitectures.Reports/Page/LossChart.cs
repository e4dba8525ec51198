using System.Globalization;
using System.Text;
using System.Text.Json;
using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports.Page;

/// <summary>The loss curves as SVG inside the page, with the numbers a pointer over them reads (see page.js).</summary>
sealed class LossChart
{
    const double Width = 1040, Height = 420, Left = 58, Right = 14, Top = 12, Bottom = 48;
    const int MostPoints = 400;

    readonly StringBuilder text = new();
    readonly LossFrame frame;
    readonly string id;

    LossChart(RunReport report, LossAxis axis)
    {
        frame = new(report.Curves(), report.Baselines, axis, new LossPlotOptions().Smoothing);
        id = $"loss-{axis.ToString().ToLowerInvariant()}";
    }

    public static string Write(RunReport report, LossAxis axis) => new LossChart(report, axis).Write(report.Unit);

    string Write(string unit)
    {
        Add($"<svg class=\"chart\" id=\"{id}\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"Loss in {SvgWriter.Escape(unit)} against {frame.XLabel}\">\n");
        Add($"<clipPath id=\"{id}-clip\"><rect x=\"{Left}\" y=\"{Top}\" width=\"{Width - Left - Right}\" height=\"{Height - Top - Bottom}\"/></clipPath>\n");
        Grid(unit);
        Add($"<g clip-path=\"url(#{id}-clip)\" fill=\"none\">\n");
        for (int i = 0; i < frame.Runs.Count; i++) Curve(frame.Runs[i], $"run{i % Inks.Runs.Count}");
        Add($"</g>\n");
        Lines();
        for (int i = 0; i < frame.Runs.Count; i++) Markers(frame.Runs[i], $"run{i % Inks.Runs.Count}");
        Add($"<g class=\"probe\" visibility=\"hidden\"><line class=\"s-soft\" y1=\"{Top}\" y2=\"{Height - Bottom}\"/></g>\n</svg>\n");
        Add($"<script type=\"application/json\" id=\"{id}-data\">{Data()}</script>\n");
        return text.ToString();
    }

    void Grid(string unit)
    {
        foreach (double tick in LossFrame.Ticks(frame.Bottom, frame.Top, 7))
        {
            Add($"<line class=\"s-line grid\" x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{Y(tick):0.#}\" y2=\"{Y(tick):0.#}\"/>");
            Add($"<text class=\"f-soft\" x=\"{Left - 8}\" y=\"{Y(tick) + 4:0.#}\" text-anchor=\"end\">{tick:0.0##}</text>\n");
        }
        foreach (double tick in LossFrame.Ticks(0, frame.Right, 8))
        {
            Add($"<line class=\"s-line grid\" y1=\"{Top}\" y2=\"{Height - Bottom}\" x1=\"{X(tick):0.#}\" x2=\"{X(tick):0.#}\"/>");
            Add($"<text class=\"f-soft\" x=\"{X(tick):0.#}\" y=\"{Height - Bottom + 18}\" text-anchor=\"middle\">{Figures.Short(tick)}</text>\n");
        }
        Add($"<text class=\"f-text\" x=\"{(Left + Width - Right) / 2}\" y=\"{Height - 8}\" text-anchor=\"middle\">{frame.XLabel}</text>\n");
        double middle = (Top + Height - Bottom) / 2;
        Add($"<text class=\"f-text\" x=\"14\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle})\">loss, {SvgWriter.Escape(unit)}</text>\n");
    }

    void Curve(LossFrame.Series run, string ink)
    {
        if (run.X.Length > 0)
        {
            Add($"<path class=\"s-{ink} raw\" d=\"{Path(Envelope(run.X, run.Raw))}\"/>\n");
            Add($"<path class=\"s-{ink} smooth\" d=\"{Path(Thinned(run.X, run.Smooth))}\"/>\n");
        }
        if (run.HeldOutX.Length > 0) Add($"<path class=\"s-{ink} heldout\" d=\"{Path(Thinned(run.HeldOutX, run.HeldOut))}\"/>\n");
    }

    void Markers(LossFrame.Series run, string ink)
    {
        foreach (var (x, y) in Thinned(run.HeldOutX, run.HeldOut).Where(point => point.Y <= frame.Top))
        {
            Add($"<circle class=\"f-{ink} s-paper\" cx=\"{X(x):0.#}\" cy=\"{Y(y):0.#}\" r=\"4\">");
            Add($"<title>{SvgWriter.Escape(run.Name)}: held-out {Figures.Loss(y)} after {Figures.Short(x)} {frame.XLabel}</title></circle>\n");
        }
    }

    void Lines()
    {
        foreach (var (line, index) in frame.Baselines.Where(frame.Shows).Select((line, index) => (line, index)))
        {
            Add($"<line class=\"s-soft baseline\" x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{Y(line.HeldOutLoss):0.#}\" y2=\"{Y(line.HeldOutLoss):0.#}\"/>");
            Add($"<text class=\"f-soft over\" x=\"{X(frame.LabelAt(index, line.HeldOutLoss)):0.#}\" y=\"{Y(line.HeldOutLoss) - 6:0.#}\" text-anchor=\"middle\">");
            Add($"{SvgWriter.Escape(line.Name)} {Figures.Loss(line.HeldOutLoss)}</text>\n");
        }
        var above = frame.Baselines.Where(line => line.HeldOutLoss > frame.Top).Select(line => $"{line.Name} {Figures.Loss(line.HeldOutLoss)}").ToArray();
        if (above.Length == 0) return;
        Add($"<text class=\"f-soft over\" x=\"{X(frame.NoteAt()):0.#}\" y=\"{Top + 14}\" text-anchor=\"middle\">↑ {SvgWriter.Escape(string.Join(", ", above))}</text>\n");
    }

    // the default encoder writes no '<', so that the data cannot end its own element
    string Data()
    {
        var runs = frame.Runs.Select((run, index) => new ChartRun(run.Name, $"run{index % Inks.Runs.Count}",
            [.. Thinned(run.X, run.Smooth).Select(Pair)], [.. Thinned(run.HeldOutX, run.HeldOut).Select(Pair)]));
        double[] box = [Left, Top, Width - Right, Height - Bottom], window = [frame.Right, frame.Bottom, frame.Top];
        return JsonSerializer.Serialize(new ChartData(box, window, frame.XLabel, [.. runs]), ChartJsonContext.Default.ChartData);
    }

    static double[] Pair((double X, double Y) point) => [Math.Round(point.X, 3), Math.Round(point.Y, 4)];

    /// <summary>Every so many points, and the last.</summary>
    static IReadOnlyList<(double X, double Y)> Thinned(double[] x, double[] y)
    {
        int stride = Math.Max(1, (x.Length + MostPoints - 1) / MostPoints);
        return [.. Enumerable.Range(0, x.Length).Where(i => i % stride == 0 || i == x.Length - 1).Select(i => (x[i], y[i]))];
    }

    /// <summary>The lowest and the highest of every few points, in their order, so that the noise keeps its width.</summary>
    static IReadOnlyList<(double X, double Y)> Envelope(double[] x, double[] y)
    {
        if (x.Length <= 2 * MostPoints) return Thinned(x, y);
        var points = new List<(double, double)>();
        foreach (var bin in Enumerable.Range(0, x.Length).Chunk((x.Length + MostPoints - 1) / MostPoints))
        {
            int low = bin.MinBy(i => y[i]), high = bin.MaxBy(i => y[i]);
            points.Add((x[Math.Min(low, high)], y[Math.Min(low, high)]));
            if (low != high) points.Add((x[Math.Max(low, high)], y[Math.Max(low, high)]));
        }
        return points;
    }

    string Path(IEnumerable<(double X, double Y)> points)
    {
        var path = new StringBuilder();
        // far above the window nothing is seen; numbers stay short
        foreach (var (x, y) in points) path.Append(CultureInfo.InvariantCulture, $"{(path.Length == 0 ? 'M' : 'L')}{X(x):0.#} {Math.Max(Y(y), -2 * Height):0.#}");
        return path.ToString();
    }

    double X(double value) => Left + value / frame.Right * (Width - Left - Right);

    double Y(double value) => Height - Bottom - (value - frame.Bottom) / (frame.Top - frame.Bottom) * (Height - Top - Bottom);

    void Add(FormattableString part) => text.Append(part.ToString(CultureInfo.InvariantCulture));
}
