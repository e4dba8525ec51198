using HybridArchitectures.Checkpoints;
using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports;

/// <summary>
/// Draws loss curves of several runs as a PNG image: raw and smoothed training loss, held-out loss with a dot at each measurement, baselines as
/// dashed lines. The legend below the curves prints the final held-out loss of each run. The font is inside the assembly, so letters are drawn on a
/// machine without fonts too.
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
        var frame = new LossFrame(curves, baselines, options.Axis, options.Smoothing);
        return PngWriter.Draw(LossPicture.Create(frame, new(options.Width, options.Height, options.Unit, options.Title, Legend: true)), (float)options.Scale);
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
}
