namespace HybridArchitectures.Reports.Drawing;

/// <summary>Specifies which part of a text is at its x.</summary>
enum Anchor { Start, Middle, End }
