using HybridArchitectures.Storage;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Draws the loss curves of several runs as a PNG image: raw and smoothed training loss, held-out loss with a dot at each measurement, and baselines
/// as dashed lines. The legend below the curves shows the final held-out loss of each run. The font is part of the assembly, so text is drawn on
/// machines without fonts as well.
/// </summary>
public static class LossPlot
{
    /// <summary>Draws the curves. Losses that are not finite are omitted.</summary>
    /// <param name="curves">The runs, in the order of the legend, with points in order of time.</param>
    /// <param name="baselines">The held-out losses to compare with. The default, null, means none.</param>
    /// <param name="options">Title, unit, axis and size. The default, null, means the default values.</param>
    /// <returns>The bytes of a PNG file with Width x Scale by Height x Scale pixels.</returns>
    /// <exception cref="ArgumentException">A list or name is null, or an option is out of range.</exception>
    public static byte[] Png(IReadOnlyList<LossCurve> curves, IReadOnlyList<Baseline>? baselines = null, LossPlotOptions? options = null)
    {
        ReportChecks.Curves(curves);
        baselines ??= [];
        ReportChecks.Baselines(baselines);
        options ??= new();
        options.Check();
        var frame = new LossFrame(curves, baselines, options.Axis, options.Smoothing);
        return PngWriter.Draw(LossPicture.Create(frame, new(options.Width, options.Height, options.Unit, options.Title, Legend: true)),
            (float)options.Scale);
    }

    /// <summary>Draws the curves to a file. The file is replaced atomically.</summary>
    /// <param name="path">The file. Its folder must exist.</param>
    /// <param name="curves">See <see cref="Png"/>.</param>
    /// <param name="baselines">See <see cref="Png"/>.</param>
    /// <param name="options">See <see cref="Png"/>.</param>
    /// <exception cref="ArgumentException">As for <see cref="Png"/>, or the path is empty.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void WritePng(string path, IReadOnlyList<LossCurve> curves, IReadOnlyList<Baseline>? baselines = null,
        LossPlotOptions? options = null)
    {
        var content = Png(curves, baselines, options);
        AtomicWrite.File(path, temporary => File.WriteAllBytes(temporary, content));
    }
}
