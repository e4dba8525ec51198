namespace HybridArchitectures.Reports.Drawing;

/// <summary>A drawing of a given size in pixels, with the words a screen reader says for it.</summary>
sealed record Picture(float Width, float Height, string Title, string Description, IReadOnlyList<Shape> Shapes);
