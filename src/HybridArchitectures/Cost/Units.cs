using System.Globalization;

namespace HybridArchitectures.Cost;

/// <summary>Formats quantities with three significant digits in readable units: 934 B, 62.6 MiB, 1.21 GFLOP.</summary>
public static class Units
{
    static readonly string[] BinaryPrefixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    static readonly string[] DecimalPrefixes = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    static readonly string[] CountSuffixes = ["", "K", "M", "B", "T"];

    /// <summary>Formats an amount of memory in B, KiB, MiB, GiB or more. Each unit is 1,024 times the previous one.</summary>
    /// <param name="bytes">The number of bytes.</param>
    public static string Bytes(double bytes) => Scaled(bytes, 1024, BinaryPrefixes, " ", "B");

    /// <summary>Formats floating-point operations in FLOP, kFLOP, MFLOP, GFLOP or more. Each unit is 1,000 times the previous one.</summary>
    /// <param name="operations">The number of floating-point operations.</param>
    public static string Flops(double operations) => Scaled(operations, 1000, DecimalPrefixes, " ", "FLOP");

    /// <summary>Formats a count, for example of parameters: 934, 62.6K, 1.21M, 3.4B.</summary>
    /// <param name="count">The count.</param>
    public static string Count(double count) => Scaled(count, 1000, CountSuffixes, "", "");

    /// <summary>Formats a time in s, ms, µs or ns.</summary>
    /// <param name="seconds">The time in seconds.</param>
    public static string Seconds(double seconds)
    {
        string[] prefixes = ["n", "µ", "m", ""];
        double size = Math.Abs(seconds) * 1e9;
        int index = 0;
        for (; index + 1 < prefixes.Length && size >= 999.5; index++) size /= 1000;
        return $"{(seconds < 0 ? "-" : "")}{(seconds == 0 ? "0" : Digits(size))} {(seconds == 0 ? "" : prefixes[index])}s";
    }

    /// <summary>Formats a remaining time as the end of a line: ", 00:00:24 left". Nothing if it is unknown.</summary>
    /// <param name="left">The time, rounded to seconds here, or null if it is unknown.</param>
    internal static string TimeLeft(TimeSpan? left) =>
        left is { } time ? FormattableString.Invariant($", {TimeSpan.FromSeconds(Math.Round(time.TotalSeconds))} left") : "";

    static string Scaled(double value, int step, string[] prefixes, string space, string unit)
    {
        double size = Math.Abs(value);
        int index = 0;
        // a value that rounds to a whole step belongs to the next unit
        while (index + 1 < prefixes.Length && double.IsFinite(size) && double.Parse(Digits(size), CultureInfo.InvariantCulture) >= step)
        {
            size /= step;
            index++;
        }
        string digits = index == 0 && size == Math.Floor(size) ? size.ToString("0", CultureInfo.InvariantCulture) : Digits(size);
        return $"{(value < 0 ? "-" : "")}{digits}{space}{prefixes[index]}{unit}";
    }

    // three significant digits, and never fewer than those before the decimal point
    static string Digits(double size) => size.ToString(size < 9.995 ? "0.00" : size < 99.95 ? "0.0" : "0", CultureInfo.InvariantCulture);
}
