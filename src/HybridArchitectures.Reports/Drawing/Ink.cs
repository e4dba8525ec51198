using System.Globalization;
using SkiaSharp;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Represents a colour by its purpose: a CSS class name, and RRGGBB on light and on dark backgrounds.</summary>
sealed record Ink(string Name, string Light, string Dark)
{
    /// <summary>Gets the colour on a light background, which PNG images have.</summary>
    public SKColor Skia => new(0xFF000000 | uint.Parse(Light, NumberStyles.HexNumber, CultureInfo.InvariantCulture));
}
