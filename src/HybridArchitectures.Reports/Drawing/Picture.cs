namespace HybridArchitectures.Reports.Drawing;

/// <summary>Represents a drawing with a size in pixels, and the text for screen readers.</summary>
sealed record Picture(float Width, float Height, string Title, string Description, IReadOnlyList<Shape> Shapes);
