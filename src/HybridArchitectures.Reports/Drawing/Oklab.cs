using System.Globalization;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Represents a colour in Oklab (https://bottosson.github.io/posts/oklab/), where equal distances look approximately equal.</summary>
/// <param name="L">The lightness, from 0 (black) to 1 (white).</param>
/// <param name="A">The axis from green to red.</param>
/// <param name="B">The axis from blue to yellow.</param>
readonly record struct Oklab(double L, double A, double B)
{
    /// <summary>Creates a colour from lightness, chroma and hue in radians.</summary>
    public static Oklab FromCylinder(double lightness, double chroma, double hue) => new(lightness, chroma * Math.Cos(hue), chroma * Math.Sin(hue));

    /// <summary>Parses RRGGBB of sRGB.</summary>
    public static Oklab From(string hex)
    {
        double Channel(int at)
        {
            double value = int.Parse(hex.AsSpan(at, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture) / 255.0;
            return value <= 0.04045 ? value / 12.92 : Math.Pow((value + 0.055) / 1.055, 2.4);
        }
        double red = Channel(0), green = Channel(2), blue = Channel(4);
        double l = Math.Cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue);
        double m = Math.Cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue);
        double s = Math.Cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue);
        return new(
            0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
            1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
            0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s);
    }

    /// <summary>Returns RRGGBB of sRGB. The chroma of a colour outside sRGB is reduced until it fits.</summary>
    public string ToHex()
    {
        for (double share = 1; ; share -= 0.02)
        {
            var linear = new Oklab(L, A * share, B * share).ToLinear();
            if (share <= 0 || linear.All(value => value is >= -1e-4 and <= 1 + 1e-4)) return string.Concat(linear.Select(Byte));
        }
    }

    /// <summary>Returns the Euclidean distance. About 0.02 is just visible; 1 is the distance of black and white.</summary>
    public double DistanceTo(Oklab other) => Math.Sqrt((L - other.L) * (L - other.L) + (A - other.A) * (A - other.A) + (B - other.B) * (B - other.B));

    double[] ToLinear()
    {
        double l = Math.Pow(L + 0.3963377774 * A + 0.2158037573 * B, 3);
        double m = Math.Pow(L - 0.1055613458 * A - 0.0638541728 * B, 3);
        double s = Math.Pow(L - 0.0894841775 * A - 1.2914855480 * B, 3);
        return
        [
            4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
            -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
            -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
        ];
    }

    static string Byte(double linear)
    {
        double value = Math.Clamp(linear, 0, 1);
        double encoded = value <= 0.0031308 ? 12.92 * value : 1.055 * Math.Pow(value, 1 / 2.4) - 0.055;
        return ((int)Math.Round(encoded * 255)).ToString("X2", CultureInfo.InvariantCulture);
    }
}
