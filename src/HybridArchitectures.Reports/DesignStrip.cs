using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports;

/// <summary>
/// A design drawn as a strip of its layers, first to last: each with its mixer (coloured and lettered as in <see cref="HybridDesign.Pattern"/>), its feed-forward
/// below and its number; a legend says the sizes. With a length of text, bars under each layer say what it costs, as <see cref="HybridDesign.Explain"/> does in words.
/// </summary>
public static class DesignStrip
{
    /// <summary>The strip as the text of an SVG file, in colours that suit light and dark surroundings.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="sequenceLength">Length of the texts that the bars of parameters, training operations and cache are for; 0 for no bars.</param>
    /// <exception cref="ArgumentException">No model can be made of the design, or the length is negative.</exception>
    public static string Svg(HybridDesign design, int sequenceLength = 0) => SvgWriter.Standalone(Draw(design, sequenceLength));

    /// <summary>The strip as the bytes of a PNG file on white paper.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="scale">Pixels of the image per pixel of the SVG, 0.5 to 8.</param>
    /// <param name="sequenceLength">Length of the texts that the bars of parameters, training operations and cache are for; 0 for no bars.</param>
    /// <exception cref="ArgumentException">No model can be made of the design, or the scale is outside its range.</exception>
    public static byte[] Png(HybridDesign design, double scale = 2, int sequenceLength = 0)
    {
        if (!(scale is >= 0.5 and <= 8)) throw new ArgumentOutOfRangeException(nameof(scale), scale, $"the scale is {scale}; expected 0.5 to 8");
        return PngWriter.Draw(Draw(design, sequenceLength), (float)scale);
    }

    /// <summary>Writes <see cref="Svg"/> into a file, which appears whole or not at all.</summary>
    /// <param name="path">Where to; its folder exists, a file there is replaced.</param>
    /// <param name="design">A complete design.</param>
    /// <param name="sequenceLength">Length of the texts that the bars of parameters, training operations and cache are for; 0 for no bars.</param>
    /// <exception cref="ArgumentException">As <see cref="Svg"/>, or the path is empty or a folder.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void WriteSvg(string path, HybridDesign design, int sequenceLength = 0) => AtomicWrite.Text(path, Svg(design, sequenceLength));

    /// <summary>Writes <see cref="Png"/> into a file, which appears whole or not at all.</summary>
    /// <param name="path">Where to; its folder exists, a file there is replaced.</param>
    /// <param name="design">A complete design.</param>
    /// <param name="scale">Pixels of the image per pixel of the SVG, 0.5 to 8.</param>
    /// <param name="sequenceLength">Length of the texts that the bars of parameters, training operations and cache are for; 0 for no bars.</param>
    /// <exception cref="ArgumentException">As <see cref="Png"/>, or the path is empty or a folder.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void WritePng(string path, HybridDesign design, double scale = 2, int sequenceLength = 0)
    {
        var content = Png(design, scale, sequenceLength);
        AtomicWrite.File(path, temporary => File.WriteAllBytes(temporary, content));
    }

    static Picture Draw(HybridDesign design, int sequenceLength)
    {
        ArgumentNullException.ThrowIfNull(design);
        ArgumentOutOfRangeException.ThrowIfNegative(sequenceLength);
        return StripPicture.Create(design, sequenceLength: sequenceLength);
    }
}
