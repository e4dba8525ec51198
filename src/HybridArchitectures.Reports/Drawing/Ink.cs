using System.Globalization;
using SkiaSharp;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>A colour by its purpose: a CSS class name, its RRGGBB on light paper and on dark.</summary>
sealed record Ink(string Name, string Light, string Dark)
{
    /// <summary>The colour on light paper, as PNGs are.</summary>
    public SKColor Skia => new(0xFF000000 | uint.Parse(Light, NumberStyles.HexNumber, CultureInfo.InvariantCulture));
}
