using System.Globalization;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Draws a loss chart: grid, baselines, raw and smoothed training losses, and held-out losses with a dot at each measurement. Labels of baselines are
/// drawn below the curves, so that no curve is covered.
/// </summary>
sealed class LossPicture
{
    /// <summary>Specifies the dash pattern of baselines.</summary>
    public static readonly Dash BaselineDash = new(7, 5);

    static readonly Dash HeldOutDash = new(2, 4);

    const float TickSize = 12, LabelSize = 12.5f, TitleSize = 16, DotRadius = 4, MinWindow = 50;

    readonly List<Shape> shapes = [];
    readonly LossFrame frame;
    readonly LossLayout layout;
    readonly float bottom;

    LossPicture(LossFrame frame, LossLayout layout, float legend) => (this.frame, this.layout, bottom) = (frame, layout, layout.Bottom(legend));

    /// <summary>Draws the chart. The lower edge of the window is <see cref="LossLayout.Bottom"/> for the height of the legend.</summary>
    public static Picture Create(LossFrame frame, LossLayout layout)
    {
        var (legend, height) = layout.Legend ? LossLegend.Create(frame, layout) : ([], 0);
        if (layout.Bottom(height) - layout.Top < MinWindow) (legend, height) = ([], 0);
        var chart = new LossPicture(frame, layout, height);
        chart.Draw();
        if (layout.Title.Length > 0) chart.Title();
        if (height > 0) chart.shapes.Add(new Shape.Shifted(0, layout.Height - height, legend));
        return new(layout.Width, layout.Height, $"Loss in {layout.Unit} against {frame.XLabel}", "", chart.shapes);
    }

    void Draw()
    {
        Grid();
        Baselines();
        List<Shape> curves = [];
        for (int i = 0; i < frame.Runs.Count; i++) curves.AddRange(Curves(frame.Runs[i], RunLook.At(i)));
        shapes.Add(new Shape.Clip(layout.Left, layout.Top, layout.Right - layout.Left, bottom - layout.Top, curves));
        for (int i = 0; i < frame.Runs.Count; i++) Dots(frame.Runs[i], RunLook.At(i).Ink);
    }

    void Title()
    {
        var title = layout.Title;
        while (title.Length > 1 && ReportFont.Measure(title, TitleSize, bold: true) > layout.Right - layout.Left) title = title[..^2].TrimEnd() + "…";
        shapes.Add(new Shape.Text(layout.Left, 22, title, TitleSize, Inks.Text, Bold: true));
    }

    void Grid()
    {
        var losses = LossFrame.Ticks(frame.Bottom, frame.Top, Math.Max(2, (int)((bottom - layout.Top) / 50)));
        var format = "0." + new string('0', Math.Max(1, losses.Select(Decimals).DefaultIfEmpty(1).Max()));
        foreach (double tick in losses)
        {
            shapes.Add(new Shape.Segment(layout.Left, Y(tick), layout.Right, Y(tick), Inks.Line, Opacity: 0.45f));
            shapes.Add(new Shape.Text(layout.Left - 8, Y(tick), tick.ToString(format, CultureInfo.InvariantCulture), TickSize, Inks.Soft,
                Anchor.End));
        }
        foreach (double tick in LossFrame.Ticks(0, frame.Right, Math.Max(2, (int)((layout.Right - layout.Left) / 90))))
        {
            shapes.Add(new Shape.Segment(X(tick), layout.Top, X(tick), bottom, Inks.Line, Opacity: 0.45f));
            shapes.Add(new Shape.Text(X(tick), bottom + 14, Figures.Short(tick), TickSize, Inks.Soft, Anchor.Middle));
        }
        shapes.Add(new Shape.Text((layout.Left + layout.Right) / 2, bottom + 35, frame.XLabel, LabelSize, Inks.Text, Anchor.Middle));
        shapes.Add(new Shape.Text(14, (layout.Top + bottom) / 2, $"loss, {layout.Unit}", LabelSize, Inks.Text, Anchor.Middle, Turned: true));
    }

    // the number of decimals that a tick needs, at most three
    static int Decimals(double tick) => tick.ToString("0.###", CultureInfo.InvariantCulture).Split('.').ElementAtOrDefault(1)?.Length ?? 0;

    void Baselines()
    {
        List<LabelPlace> taken = [];
        float width = layout.Right - layout.Left, height = bottom - layout.Top;
        foreach (var baseline in frame.Baselines.Where(frame.Shows))
        {
            float line = Y(baseline.HeldOutLoss);
            shapes.Add(new Shape.Segment(layout.Left, line, layout.Right, line, Inks.Soft, 1.2f, Dash: BaselineDash));
            var label = $"{baseline.Name} {Figures.Loss(baseline.HeldOutLoss)}";
            // the font of the viewer may be wider than the measured one
            float length = ReportFont.Measure(label, TickSize) * 1.12f + 12;
            if (frame.PlaceLabel(baseline.HeldOutLoss, length / width, 20 / height, taken) is not { } position) continue;
            taken.Add(position);
            float x = layout.Left + (float)(position.Left + position.Width / 2) * width;
            float y = bottom - (float)(position.Bottom + position.Height / 2) * height;
            shapes.Add(new Shape.Text(x, y, label, TickSize, Inks.Soft, Anchor.Middle));
        }
    }

    IEnumerable<Shape> Curves(LossFrame.Series run, RunLook look)
    {
        bool smooth = !ReferenceEquals(run.Raw, run.Smooth);
        var raw = Path(Envelope(run.X, run.Raw));
        if (smooth)
        {
            yield return new Shape.Curve(raw, look.Ink, 1, Opacity: 0.25f);
            yield return new Shape.Curve(Path(Thinned(run.X, run.Smooth, layout.MaxPoints)), look.Ink, 2, Dash: look.Dash);
        }
        else yield return new Shape.Curve(raw, look.Ink, 1.6f, Dash: look.Dash);
        yield return new Shape.Curve(Path(Thinned(run.HeldOutX, run.HeldOut, layout.MaxPoints)), look.Ink, 1.5f, Dash: HeldOutDash);
    }

    void Dots(LossFrame.Series run, Ink ink)
    {
        foreach (var (x, y) in Thinned(run.HeldOutX, run.HeldOut, layout.MaxPoints).Where(point => point.Y <= frame.Top))
        {
            var title = $"{run.Name}: held-out {Figures.Loss(y)} after {Figures.Short(x)} {frame.XLabel}";
            shapes.Add(new Shape.Circle(X(x), Y(y), DotRadius, ink, Inks.Paper, title));
        }
    }

    /// <summary>Returns evenly spaced points, and the last one.</summary>
    public static IReadOnlyList<(double X, double Y)> Thinned(double[] x, double[] y, int maxPoints)
    {
        int stride = Math.Max(1, (x.Length + maxPoints - 1) / maxPoints);
        return [.. Enumerable.Range(0, x.Length).Where(i => i % stride == 0 || i == x.Length - 1).Select(i => (x[i], y[i]))];
    }

    // the minimum and maximum of every few points, in their order, so that the noise keeps its width
    IReadOnlyList<(double X, double Y)> Envelope(double[] x, double[] y)
    {
        if (x.Length <= 2 * layout.MaxPoints) return Thinned(x, y, 2 * layout.MaxPoints);
        var points = new List<(double, double)>();
        foreach (var bin in Enumerable.Range(0, x.Length).Chunk((x.Length + layout.MaxPoints - 1) / layout.MaxPoints))
        {
            int low = bin.MinBy(i => y[i]), high = bin.MaxBy(i => y[i]);
            points.Add((x[Math.Min(low, high)], y[Math.Min(low, high)]));
            if (low != high) points.Add((x[Math.Max(low, high)], y[Math.Max(low, high)]));
        }
        return points;
    }

    // points far above the window are not visible; clamping them keeps numbers short
    IReadOnlyList<(float X, float Y)> Path(IReadOnlyList<(double X, double Y)> points) =>
        [.. points.Select(point => (X(point.X), Math.Max(Y(point.Y), -2 * layout.Height)))];

    float X(double value) => layout.Left + (float)(value / frame.Right) * (layout.Right - layout.Left);

    float Y(double value) => bottom - (float)((value - frame.Bottom) / (frame.Top - frame.Bottom)) * (bottom - layout.Top);
}
