namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// A part of a picture. Coordinates are in pixels, y downwards. <see cref="SvgWriter"/> and <see cref="PngWriter"/> draw every kind.
/// </summary>
abstract record Shape
{
    /// <summary>A rectangle with round corners. <paramref name="Second"/> fills the half below the rising diagonal.</summary>
    public sealed record Box(float X, float Y, float Width, float Height, float Radius, Ink? Fill, Ink? Second = null, Ink? Outline = null,
        bool Dashed = false, string? Class = null) : Shape;

    /// <summary>One line of text whose middle height is at <paramref name="Y"/>. <paramref name="Turned"/>: read upwards.</summary>
    public sealed record Text(float X, float Y, string Content, float Size, Ink Fill, Anchor Anchor = Anchor.Start, bool Bold = false, bool Turned = false) : Shape;

    /// <summary>Texts of one size one after another, a space of <see cref="Gap"/> between them; they keep apart in any font.</summary>
    public sealed record Sentence(float X, float Y, float Size, IReadOnlyList<Words> Parts) : Shape
    {
        /// <summary>Space between two parts as a share of the size.</summary>
        public const float Gap = 0.7f;

        /// <summary>Width of the sentence in pixels, in the font of the pictures.</summary>
        public static float Measure(IReadOnlyList<Words> parts, float size) =>
            parts.Sum(part => ReportFont.Measure(part.Content, size, part.Bold)) + Math.Max(0, parts.Count - 1) * size * Gap;
    }

    /// <summary>A straight line.</summary>
    public sealed record Segment(float X1, float Y1, float X2, float Y2, Ink Stroke, float Width = 1, float Opacity = 1, Dash? Dash = null) : Shape;

    /// <summary>A line through points, with round joins and ends.</summary>
    public sealed record Curve(IReadOnlyList<(float X, float Y)> Points, Ink Stroke, float Width, float Opacity = 1, Dash? Dash = null) : Shape;

    /// <summary>A filled circle. <paramref name="Title"/> is the tooltip in SVG.</summary>
    public sealed record Circle(float X, float Y, float Radius, Ink Fill, Ink? Outline = null, string? Title = null) : Shape;

    /// <summary>Shapes that are cut off outside a rectangle.</summary>
    public sealed record Clip(float X, float Y, float Width, float Height, IReadOnlyList<Shape> Shapes) : Shape;

    /// <summary>Shapes moved right and down.</summary>
    public sealed record Shifted(float X, float Y, IReadOnlyList<Shape> Shapes) : Shape;

    /// <summary>One part of a sentence.</summary>
    public sealed record Words(string Content, Ink Fill, bool Bold = false);

    /// <summary>Shapes that belong together; <paramref name="Title"/> is what a pointer over them shows.</summary>
    public sealed record Group(string Class, string Title, IReadOnlyList<Shape> Shapes) : Shape;
}
