using System.Globalization;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Formats numbers for readers, independent of the culture.</summary>
static class Figures
{
    /// <summary>Returns three digits and K, M, B, T, P or E: 1.23M. P is 1e15, which only operations reach.</summary>
    public static string Short(double value)
    {
        var (scaled, unit) = Math.Abs(value) switch
        {
            >= 999.5e15 => (value / 1e18, "E"),
            >= 999.5e12 => (value / 1e15, "P"),
            >= 999.5e9 => (value / 1e12, "T"),
            >= 999.5e6 => (value / 1e9, "B"),
            >= 999.5e3 => (value / 1e6, "M"),
            >= 999.5 => (value / 1e3, "K"),
            _ => (value, ""),
        };
        var digits = Math.Abs(scaled) switch { >= 99.95 => "0", >= 9.995 => "0.#", _ => "0.##" };
        return scaled.ToString(digits, CultureInfo.InvariantCulture) + unit;
    }

    /// <summary>Returns all digits in groups of three.</summary>
    public static string Full(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>Returns three decimals, or the words "not finite".</summary>
    public static string Loss(double value) => double.IsFinite(value) ? value.ToString("0.000", CultureInfo.InvariantCulture) : "not finite";

    /// <summary>Returns a time span: 45 s, 4 min 05 s, 2 h 03 min.</summary>
    public static string Duration(double seconds)
    {
        var whole = (long)Math.Round(seconds);
        return whole switch
        {
            < 60 => string.Create(CultureInfo.InvariantCulture, $"{seconds:0.#} s"),
            < 3600 => string.Create(CultureInfo.InvariantCulture, $"{whole / 60} min {whole % 60:00} s"),
            _ => string.Create(CultureInfo.InvariantCulture, $"{whole / 3600} h {whole / 60 % 60:00} min"),
        };
    }
}
