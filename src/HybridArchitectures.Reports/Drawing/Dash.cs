using System.Globalization;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Represents a dash pattern: alternating lengths of strokes and gaps, in pixels.</summary>
sealed record Dash(params float[] Lengths)
{
    /// <summary>Gets the value of SVG's <c>stroke-dasharray</c>.</summary>
    public string Svg => string.Join(' ', Lengths.Select(length => length.ToString("0.##", CultureInfo.InvariantCulture)));
}
