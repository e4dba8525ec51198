using SkiaSharp;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// The font of every picture: Inter (SIL Open Font License), carried inside the assembly. A bare machine has no fonts, and Skia would then draw no
/// letters.
/// </summary>
static class ReportFont
{
    static readonly SKTypeface Regular = Load("Inter-Regular.otf");
    static readonly SKTypeface SemiBold = Load("Inter-SemiBold.otf");

    public static SKTypeface Typeface(bool bold) => bold ? SemiBold : Regular;

    /// <summary>Width of the text in pixels at a font size in pixels.</summary>
    public static float Measure(string text, float size, bool bold = false)
    {
        using var font = new SKFont(Typeface(bold), size) { Subpixel = true };
        return font.MeasureText(text);
    }

    static SKTypeface Load(string resource)
    {
        using var stream = typeof(ReportFont).Assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"the assembly lacks its font {resource}");
        using var data = SKData.Create(stream);
        return SKTypeface.FromData(data) ?? throw new InvalidOperationException($"Skia cannot read the font {resource}");
    }
}
