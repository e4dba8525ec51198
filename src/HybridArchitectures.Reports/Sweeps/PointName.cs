using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Represents the name of a point in a chart, before it has a place.</summary>
/// <param name="Name">The name.</param>
/// <param name="X">The x-coordinate of the point in pixels.</param>
/// <param name="Y">The y-coordinate of the point in pixels.</param>
/// <param name="Ink">The colour of the point.</param>
sealed record PointName(string Name, float X, float Y, Ink Ink);
