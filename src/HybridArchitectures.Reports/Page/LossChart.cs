using System.Text.Json;
using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports.Page;

/// <summary>
/// Writes the loss chart of one axis of a page, once for wide and once for narrow windows, with the numbers that page.js shows under a pointer.
/// </summary>
static class LossChart
{
    const int BroadPoints = 400, NarrowPoints = 150;

    /// <summary>Returns the markup of the chart.</summary>
    public static string Write(RunReport report, LossAxis axis)
    {
        var frame = new LossFrame(report.Curves(), report.Baselines, axis, new LossPlotOptions().Smoothing);
        var id = $"loss-{axis.ToString().ToLowerInvariant()}";
        return Svg(frame, new(1040, 420, report.Unit, MaxPoints: BroadPoints), id, "broad")
            + Svg(frame, new(320, 300, report.Unit, MaxPoints: NarrowPoints), id, "narrow")
            + $"<script type=\"application/json\" id=\"{id}-data\">{Data(frame)}</script>\n";
    }

    static string Svg(LossFrame frame, LossLayout layout, string id, string kind)
    {
        float bottom = layout.Bottom(0);
        var box = FormattableString.Invariant($"{layout.Left} {layout.Top} {layout.Right} {bottom}");
        var line = FormattableString.Invariant($"<line class=\"s-soft\" y1=\"{layout.Top}\" y2=\"{bottom}\"/>");
        var probe = $"<g class=\"probe\" visibility=\"hidden\">{line}</g>\n";
        var attributes = $"class=\"chart {kind}\" data-box=\"{box}\" data-numbers=\"{id}-data\"";
        return SvgWriter.Inline(LossPicture.Create(frame, layout), $"{id}-{kind}", attributes, probe);
    }

    // the default encoder writes no '<', so the data cannot end its element
    static string Data(LossFrame frame)
    {
        static double[][] Pairs(double[] x, double[] y) =>
            [.. LossPicture.Thinned(x, y, BroadPoints).Select(point => (double[])[Math.Round(point.X, 3), Math.Round(point.Y, 4)])];
        var runs = frame.Runs.Select((run, index) =>
            new ChartRun(run.Name, RunLook.At(index).Ink.Name, Pairs(run.X, run.Smooth), Pairs(run.HeldOutX, run.HeldOut)));
        double[] window = [frame.Right, frame.Bottom, frame.Top];
        return JsonSerializer.Serialize(new ChartData(window, frame.XLabel, [.. runs]), ChartJsonContext.Default.ChartData);
    }
}
