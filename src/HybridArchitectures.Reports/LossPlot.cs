using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Reports.Drawing;
using ScottPlot;
using ScottPlot.TickGenerators;
using SkiaSharp;

namespace HybridArchitectures.Reports;

/// <summary>
/// Loss curves of several runs as a PNG image: raw and smoothed training loss, held-out loss with a marker at each measurement, baselines as dashed lines.
/// The letters come from a font inside the assembly, so that they are drawn on a machine without fonts too.
/// </summary>
public static class LossPlot
{
    /// <summary>Draws the curves; losses that are not finite are left out.</summary>
    /// <param name="curves">The runs, in the order of the legend; points in order of time.</param>
    /// <param name="baselines">Held-out losses to compare with.</param>
    /// <param name="options">Title, unit, axis and size; null for the defaults.</param>
    /// <returns>The bytes of a PNG file of Width x Height x Scale pixels.</returns>
    /// <exception cref="ArgumentException">A list or name is null, or an option is outside its range.</exception>
    public static byte[] Png(IReadOnlyList<LossCurve> curves, IReadOnlyList<Baseline>? baselines = null, LossPlotOptions? options = null)
    {
        Checks.Curves(curves);
        baselines ??= [];
        Checks.Baselines(baselines);
        options ??= new();
        options.Check();
        ReportFont.Register();

        var frame = new LossFrame(curves, baselines, options.Axis, options.Smoothing);
        using var plot = new Plot { ScaleFactor = options.Scale };
        foreach (var (run, index) in frame.Runs.Select((run, index) => (run, index))) Draw(plot, run, Inks.Run(index), options.Smoothing > 0);
        DrawBaselines(plot, frame);
        Dress(plot, frame, options);

        int width = (int)Math.Round(options.Width * options.Scale), height = (int)Math.Round(options.Height * options.Scale);
        using var surface = SKSurface.Create(new SKImageInfo(width, height))
            ?? throw new InvalidOperationException($"Skia has no room for {width} x {height} pixels");
        plot.Render(surface.Canvas, width, height);
        using var image = surface.Snapshot();
        using var data = image.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    /// <summary>Draws the curves into a file, which appears whole or not at all.</summary>
    /// <param name="path">Where to; its folder exists; an existing file is replaced.</param>
    /// <param name="curves">See <see cref="Png"/>.</param>
    /// <param name="baselines">See <see cref="Png"/>.</param>
    /// <param name="options">See <see cref="Png"/>.</param>
    /// <exception cref="ArgumentException">As <see cref="Png"/>, or the path is empty.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void WritePng(string path, IReadOnlyList<LossCurve> curves, IReadOnlyList<Baseline>? baselines = null, LossPlotOptions? options = null)
    {
        var content = Png(curves, baselines, options);
        AtomicWrite.File(path, temporary => File.WriteAllBytes(temporary, content));
    }

    static void Draw(Plot plot, LossFrame.Series run, Ink ink, bool smooth)
    {
        var colour = Colour(ink);
        if (run.X.Length > 0)
        {
            var raw = plot.Add.ScatterLine(run.X, run.Raw, smooth ? colour.WithAlpha(0.22) : colour);
            raw.LineWidth = smooth ? 1 : 1.6f;
            raw.LegendText = smooth ? "" : run.Name;
        }
        if (smooth && run.X.Length > 0)
        {
            var line = plot.Add.ScatterLine(run.X, run.Smooth, colour);
            line.LineWidth = 2;
            line.LegendText = run.Name;
        }
        if (run.HeldOutX.Length > 0)
        {
            var heldOut = plot.Add.Scatter(run.HeldOutX, run.HeldOut, colour);
            heldOut.LinePattern = LinePattern.Dotted;
            heldOut.LineWidth = 1.4f;
            heldOut.MarkerShape = MarkerShape.FilledCircle;
            heldOut.MarkerSize = 7;
            heldOut.MarkerLineColor = Colors.White;
            heldOut.MarkerLineWidth = 1;
            heldOut.LegendText = $"{run.Name}, held-out: {Figures.Loss(run.HeldOut[^1])}";
        }
    }

    static void DrawBaselines(Plot plot, LossFrame frame)
    {
        foreach (var (baseline, index) in frame.Baselines.Where(frame.Shows).Select((baseline, index) => (baseline, index)))
        {
            plot.Add.HorizontalLine(baseline.HeldOutLoss, 1.2f, Colour(Inks.Soft), LinePattern.Dashed);
            Note(plot, $"{baseline.Name}  {Figures.Loss(baseline.HeldOutLoss)}", frame.LabelAt(index, baseline.HeldOutLoss), baseline.HeldOutLoss, Alignment.LowerCenter, -2);
        }
        var above = frame.Baselines.Where(baseline => baseline.HeldOutLoss > frame.Top)
            .Select(baseline => $"{baseline.Name}  {Figures.Loss(baseline.HeldOutLoss)}").ToArray();
        if (above.Length > 0) Note(plot, "↑ " + string.Join(",  ", above), frame.NoteAt(), frame.Top, Alignment.UpperCenter, 4);
    }

    static void Note(Plot plot, string content, double x, double y, Alignment alignment, float down)
    {
        var note = plot.Add.Text(content, x, y);
        note.LabelFontName = ReportFont.Name;
        note.LabelFontSize = 12;
        note.LabelFontColor = Colour(Inks.Soft);
        // over a curve it is still read
        note.LabelBackgroundColor = Colour(Inks.Paper).WithAlpha(0.8);
        note.LabelPadding = 1;
        note.LabelAlignment = alignment;
        note.OffsetY = down;
    }

    static void Dress(Plot plot, LossFrame frame, LossPlotOptions options)
    {
        plot.Font.Set(ReportFont.Name);
        plot.FigureBackground.Color = Colour(Inks.Paper);
        plot.DataBackground.Color = Colour(Inks.Paper);
        plot.Axes.Color(Colour(Inks.Text));
        plot.Axes.FrameColor(Colour(Inks.Line));
        plot.Axes.Right.FrameLineStyle.IsVisible = false;
        plot.Axes.Top.FrameLineStyle.IsVisible = false;
        plot.Grid.MajorLineColor = Colour(Inks.Line).WithAlpha(0.5);
        plot.Axes.SetLimits(0, frame.Right * 1.01, frame.Bottom, frame.Top);

        var bottom = LossFrame.Ticks(0, frame.Right * 1.01, 8);
        var left = LossFrame.Ticks(frame.Bottom, frame.Top, 7);
        plot.Axes.Bottom.TickGenerator = new NumericManual([.. bottom.Select(tick => new Tick(tick, Figures.Short(tick)))]);
        plot.Axes.Left.TickGenerator = new NumericManual([.. left.Select(tick => new Tick(tick, tick.ToString("0.0##", CultureInfo.InvariantCulture)))]);
        foreach (var axis in (IAxis[])[plot.Axes.Bottom, plot.Axes.Left])
        {
            axis.TickLabelStyle.FontName = ReportFont.Name;
            axis.TickLabelStyle.FontSize = 12;
            axis.MajorTickStyle.Color = Colour(Inks.Line);
        }
        plot.XLabel(frame.XLabel, 13);
        plot.YLabel($"loss, {options.Unit}", 13);
        plot.Axes.Bottom.Label.Bold = plot.Axes.Left.Label.Bold = false;
        if (options.Title.Length > 0)
        {
            plot.Title(options.Title, 16);
            plot.Axes.Title.Label.Font = Fonts.GetTypeface(ReportFont.Name, bold: true, italic: false);
        }
        plot.Legend.FontName = ReportFont.Name;
        plot.Legend.FontSize = 12;
        plot.Legend.FontColor = Colour(Inks.Text);
        plot.Legend.OutlineColor = Colour(Inks.Line);
        plot.Legend.BackgroundColor = Colour(Inks.Paper).WithAlpha(0.9);
        plot.Legend.ShadowColor = Colors.Transparent;
        plot.ShowLegend(Alignment.UpperRight);
        plot.Legend.IsVisible = frame.Runs.Any(run => run.X.Length + run.HeldOutX.Length > 0);
    }

    static Color Colour(Ink ink) => Color.FromHex("#" + ink.Light);
}
