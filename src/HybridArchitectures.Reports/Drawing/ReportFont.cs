using SkiaSharp;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Provides the font of every picture: Inter (SIL Open Font License), which is part of the assembly. A minimal machine has no fonts, and Skia would
/// then draw no text.
/// </summary>
static class ReportFont
{
    static readonly SKTypeface Regular = Load("Inter-Regular.otf");
    static readonly SKTypeface SemiBold = Load("Inter-SemiBold.otf");

    public static SKTypeface Typeface(bool bold) => bold ? SemiBold : Regular;

    /// <summary>Returns the width of a text in pixels at a font size in pixels.</summary>
    public static float Measure(string text, float size, bool bold = false)
    {
        using var font = new SKFont(Typeface(bold), size) { Subpixel = true };
        return font.MeasureText(text);
    }

    static SKTypeface Load(string resource)
    {
        using var stream = typeof(ReportFont).Assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"the assembly does not contain its font {resource}");
        using var data = SKData.Create(stream);
        return SKTypeface.FromData(data) ?? throw new InvalidOperationException($"Skia cannot read the font {resource}");
    }
}
