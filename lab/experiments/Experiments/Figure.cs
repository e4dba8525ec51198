using System.Globalization;
using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Experiments;

/// <summary>Formats measured numbers: three decimals, or none from 100 on.</summary>
static class Figure
{
    static string Digits(double scale) => Math.Abs(scale) >= 100 ? "#,##0" : "0.000";

    /// <summary>Returns a mean with its standard error, which a mean of one run does not have.</summary>
    public static string Mean(Estimate? mean)
    {
        if (mean is null) return "";
        string digits = Digits(mean.Value);
        return Text(mean.Value, digits) + (mean.StandardError is { } error ? $" \u00b1 {Text(error, digits)}" : "");
    }

    /// <summary>Returns a difference with its interval. It says whether there is only one pair, or the interval contains 0.</summary>
    public static string Difference(PairedComparison difference)
    {
        string digits = Digits(difference.Difference.Value), value = Text(difference.Difference.Value, $"+{digits};-{digits};{digits}");
        return difference.Interval is not { } interval ? $"{value} (1 seed)"
            : $"{value} [{Text(interval.Low, digits)}, {Text(interval.High, digits)}]{(difference.IsBelowNoise ? ", below noise" : "")}";
    }

    /// <summary>Returns a number of a fit with its bootstrap interval.</summary>
    public static string Interval(BootstrapInterval number) =>
        $"{Text(number.Value, Digits(0))} [{Text(number.Low, Digits(0))}, {Text(number.High, Digits(0))}]";

    /// <summary>Returns numbers, one for each seed.</summary>
    public static string Each(IEnumerable<double> numbers) => string.Join(", ", numbers.Select(number => Text(number, Digits(number))));

    /// <summary>Returns a ratio of scales with its interval. A ratio over 1,000 is far outside the scales that were trained.</summary>
    public static string Ratio(BootstrapInterval ratio) => double.IsInfinity(ratio.Low) ? "never reached"
        : $"{Bounded(ratio.Value)} [{Bounded(ratio.Low)}, {Bounded(ratio.High)}]";

    static string Bounded(double ratio) => ratio > 1000 ? "over 1,000" : Text(ratio, ratio >= 10 ? "#,##0" : "0.00");

    static string Text(double value, string format)
    {
        string text = value.ToString(format, CultureInfo.InvariantCulture);
        return text.Trim('-', '0', '.', '+').Length == 0 ? text.TrimStart('-', '+') : text;
    }
}
