namespace HybridArchitectures.Reports.Drawing;

/// <summary>Which part of a text stands at its x.</summary>
enum Anchor { Start, Middle, End }
