using ScottPlot;
using SkiaSharp;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// The font of every picture: Inter (SIL Open Font License), carried inside the assembly. A bare machine has no fonts, and Skia would then draw no letters.
/// </summary>
static class ReportFont
{
    /// <summary>The name plots ask for. Not "Inter" alone: a machine may have another version of that.</summary>
    public const string Name = "HybridArchitectures Inter";

    static readonly SKTypeface Regular = Load(Resource(bold: false));
    static readonly SKTypeface SemiBold = Load(Resource(bold: true));
    static readonly Lock Gate = new();
    static bool registered;

    public static SKTypeface Typeface(bool bold) => bold ? SemiBold : Regular;

    /// <summary>Width of the text in pixels at a font size in pixels.</summary>
    public static float Measure(string text, float size, bool bold = false)
    {
        using var font = new SKFont(Typeface(bold), size) { Subpixel = true };
        return font.MeasureText(text);
    }

    /// <summary>Makes the font known to ScottPlot under <see cref="Name"/>; later calls do nothing.</summary>
    public static void Register()
    {
        lock (Gate)
        {
            if (registered) return;
            Fonts.FontResolvers.Insert(0, new Resolver());
            registered = true;
        }
    }

    static string Resource(bool bold) => bold ? "Inter-SemiBold.otf" : "Inter-Regular.otf";

    static SKTypeface Load(string resource)
    {
        using var stream = typeof(ReportFont).Assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"the assembly lacks its font {resource}");
        using var data = SKData.Create(stream);
        return SKTypeface.FromData(data) ?? throw new InvalidOperationException($"Skia cannot read the font {resource}");
    }

    // ScottPlot owns what a resolver gives it, so each call loads a typeface of its own
    sealed class Resolver : IFontResolver
    {
        public SKTypeface? CreateTypeface(string fontName, FontWeight weight, FontSlant slant, FontSpacing spacing) =>
            fontName == Name ? Load(Resource(weight >= FontWeight.SemiBold)) : null;

        public SKTypeface? CreateTypeface(string fontName, bool bold, bool italic) => fontName == Name ? Load(Resource(bold)) : null;
    }
}
