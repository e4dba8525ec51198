namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Represents a part of a picture. Coordinates are in pixels, y downwards. <see cref="SvgWriter"/> and <see cref="PngWriter"/> draw every kind.
/// </summary>
abstract record Shape
{
    /// <summary>Represents a rectangle with rounded corners. <paramref name="Second"/> fills the half below the rising diagonal.</summary>
    public sealed record Box(float X, float Y, float Width, float Height, float Radius, Ink? Fill, Ink? Second = null, Ink? Outline = null,
        bool Dashed = false, string? Class = null) : Shape;

    /// <summary>
    /// Represents one line of text, vertically centered at <paramref name="Y"/>. <paramref name="Turned"/> rotates it to be read upwards.
    /// </summary>
    public sealed record Text(float X, float Y, string Content, float Size, Ink Fill, Anchor Anchor = Anchor.Start, bool Bold = false,
        bool Turned = false) : Shape;

    /// <summary>Represents consecutive texts of one size with a space of <see cref="Gap"/> between them. They stay apart in any font.</summary>
    public sealed record Sentence(float X, float Y, float Size, IReadOnlyList<Words> Parts) : Shape
    {
        /// <summary>Specifies the space between two parts as a fraction of the size.</summary>
        public const float Gap = 0.7f;

        /// <summary>Returns the width of the sentence in pixels, in the font of the pictures.</summary>
        public static float Measure(IReadOnlyList<Words> parts, float size) =>
            parts.Sum(part => ReportFont.Measure(part.Content, size, part.Bold)) + Math.Max(0, parts.Count - 1) * size * Gap;
    }

    /// <summary>Represents a straight line.</summary>
    public sealed record Segment(float X1, float Y1, float X2, float Y2, Ink Stroke, float Width = 1, float Opacity = 1, Dash? Dash = null) : Shape;

    /// <summary>Represents a line through points, with round joins and ends.</summary>
    public sealed record Curve(IReadOnlyList<(float X, float Y)> Points, Ink Stroke, float Width, float Opacity = 1, Dash? Dash = null) : Shape;

    /// <summary>Represents a filled circle. <paramref name="Title"/> is the tooltip in SVG.</summary>
    public sealed record Circle(float X, float Y, float Radius, Ink Fill, Ink? Outline = null, string? Title = null) : Shape;

    /// <summary>Represents shapes that are clipped to a rectangle.</summary>
    public sealed record Clip(float X, float Y, float Width, float Height, IReadOnlyList<Shape> Shapes) : Shape;

    /// <summary>Represents shapes that are moved right and down.</summary>
    public sealed record Shifted(float X, float Y, IReadOnlyList<Shape> Shapes) : Shape;

    /// <summary>Represents one part of a sentence.</summary>
    public sealed record Words(string Content, Ink Fill, bool Bold = false);

    /// <summary>Represents a group of shapes. <paramref name="Title"/> is its tooltip.</summary>
    public sealed record Group(string Class, string Title, IReadOnlyList<Shape> Shapes) : Shape;
}
