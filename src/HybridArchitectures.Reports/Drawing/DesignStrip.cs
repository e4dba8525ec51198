using HybridArchitectures.Design;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Draws a design as a strip of its layers, in order. Each layer shows its mixer (with the letter of <see cref="HybridDesign.Pattern"/>), its
/// feed-forward and its number. A legend lists the sizes. With a sequence length, bars below each layer show its cost, as
/// <see cref="Cost.DesignCostExtensions.Explain"/> does in text.
/// </summary>
/// <example>
/// <code>
/// HybridDesign design = Recipes.Get("1B-inter-1:5").Design;
/// DesignStrip.WriteSvg("hybrid.svg", design);
/// DesignStrip.WritePng("hybrid.png", design, scale: 2, sequenceLength: 8192);
/// </code>
/// </example>
public static class DesignStrip
{
    /// <summary>Returns the strip as the text of an SVG file, with colours for light and dark backgrounds.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="sequenceLength">The sequence length for the bars of parameters, training FLOPs and cache. The default, 0, draws no bars.</param>
    /// <exception cref="ArgumentException">A model of the design is not possible, or the length is negative.</exception>
    public static string Svg(HybridDesign design, int sequenceLength = 0) => SvgWriter.Standalone(Draw(design, sequenceLength));

    /// <summary>Returns the strip as the bytes of a PNG file with a white background.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="scale">The number of pixels of the image per pixel of the SVG, 0.5 to 8. The default is 2.</param>
    /// <param name="sequenceLength">The sequence length for the bars of parameters, training FLOPs and cache. The default, 0, draws no bars.</param>
    /// <exception cref="ArgumentException">A model of the design is not possible, or the scale is out of range.</exception>
    public static byte[] Png(HybridDesign design, double scale = 2, int sequenceLength = 0)
    {
        if (!(scale is >= 0.5 and <= 8)) throw Require.OutOfRange(nameof(scale), scale, "0.5 to 8");
        return PngWriter.Draw(Draw(design, sequenceLength), (float)scale);
    }

    /// <summary>Writes <see cref="Svg"/> to a file. The file is replaced atomically.</summary>
    /// <param name="path">The file. Its folder must exist.</param>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="sequenceLength">The sequence length for the bars of parameters, training FLOPs and cache. The default, 0, draws no bars.</param>
    /// <exception cref="ArgumentException">As for <see cref="Svg"/>, or the path is empty or a folder.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void WriteSvg(string path, HybridDesign design, int sequenceLength = 0) => AtomicWrite.Text(path, Svg(design, sequenceLength));

    /// <summary>Writes <see cref="Png"/> to a file. The file is replaced atomically.</summary>
    /// <param name="path">The file. Its folder must exist.</param>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="scale">The number of pixels of the image per pixel of the SVG, 0.5 to 8. The default is 2.</param>
    /// <param name="sequenceLength">The sequence length for the bars of parameters, training FLOPs and cache. The default, 0, draws no bars.</param>
    /// <exception cref="ArgumentException">As for <see cref="Png"/>, or the path is empty or a folder.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void WritePng(string path, HybridDesign design, double scale = 2, int sequenceLength = 0)
    {
        var content = Png(design, scale, sequenceLength);
        AtomicWrite.File(path, temporary => File.WriteAllBytes(temporary, content));
    }

    static Picture Draw(HybridDesign design, int sequenceLength)
    {
        ArgumentNullException.ThrowIfNull(design);
        Require.AtLeast(sequenceLength, 0);
        return StripPicture.Create(design, sequenceLength: sequenceLength);
    }
}
