namespace HybridArchitectures.Reports.Drawing;

/// <summary>What a picture is made of, in pixels, y downwards: drawn as SVG by <see cref="SvgWriter"/> and as PNG by <see cref="PngWriter"/>.</summary>
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
    }

    public sealed record Segment(float X1, float Y1, float X2, float Y2, Ink Stroke, float Width = 1) : Shape;

    /// <summary>One part of a sentence.</summary>
    public sealed record Words(string Content, Ink Fill, bool Bold = false);

    /// <summary>Shapes that belong together; <paramref name="Title"/> is what a pointer over them shows.</summary>
    public sealed record Group(string Class, string Title, IReadOnlyList<Shape> Shapes) : Shape;
}
