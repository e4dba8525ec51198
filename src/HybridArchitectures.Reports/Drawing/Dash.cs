using System.Globalization;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>A dash pattern: lengths of strokes and gaps in turn, in pixels.</summary>
sealed record Dash(params float[] Lengths)
{
    /// <summary>The value of SVG's <c>stroke-dasharray</c>.</summary>
    public string Svg => string.Join(' ', Lengths.Select(length => length.ToString("0.##", CultureInfo.InvariantCulture)));
}
