using System.Globalization;
using System.Text.Json.Serialization;

namespace HybridArchitectures.Evaluation.Statistics;

/// <summary>Contains a mean and its standard error.</summary>
/// <param name="Value">The mean of the samples.</param>
/// <param name="StandardError">
/// The sample standard deviation (with Count - 1) divided by the square root of <paramref name="Count"/>, or null for fewer than two samples.
/// </param>
/// <param name="Count">The number of samples.</param>
public sealed record Estimate(double Value, double? StandardError, long Count)
{
    /// <summary>Computes the mean of independent samples and its standard error.</summary>
    /// <param name="samples">The samples, at least one.</param>
    /// <exception cref="ArgumentException">There are no samples.</exception>
    public static Estimate FromSamples(IEnumerable<double> samples)
    {
        ArgumentNullException.ThrowIfNull(samples);
        var values = samples as IReadOnlyCollection<double> ?? [.. samples];
        if (values.Count == 0) throw Require.Unfit(nameof(samples), "samples has 0 entries", "at least 1");
        double mean = values.Sum() / values.Count, squares = values.Sum(value => (value - mean) * (value - mean));
        return new Estimate(mean, values.Count < 2 ? null : Math.Sqrt(squares / (values.Count - 1) / values.Count), values.Count);
    }

    /// <summary>
    /// Computes a ratio of two sums over independent blocks, such as nats over tokens, and its standard error (Cochran, "Sampling Techniques", 3rd
    /// edition, 1977, equation 6.13).
    /// </summary>
    /// <param name="blocks">The numerator and denominator of each block. Blocks whose denominator is 0 are left out.</param>
    /// <exception cref="ArgumentException">All denominators are 0.</exception>
    public static Estimate FromRatio(IEnumerable<(double Numerator, double Denominator)> blocks)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        var counted = blocks.Where(block => block.Denominator != 0).ToArray();
        if (counted.Length == 0) throw Require.Unfit(nameof(blocks), "blocks has 0 entries that count", "at least 1");
        double denominator = counted.Sum(block => block.Denominator), ratio = counted.Sum(block => block.Numerator) / denominator;
        if (counted.Length < 2) return new Estimate(ratio, null, counted.Length);
        double squares = counted.Sum(block => Math.Pow(block.Numerator - ratio * block.Denominator, 2));
        return new Estimate(ratio, Math.Sqrt(squares * counted.Length / (counted.Length - 1)) / denominator, counted.Length);
    }

    /// <summary>Gets a text such as <c>0.412 +- 0.013</c>, or only the mean if there is no standard error.</summary>
    [JsonIgnore]
    public string Text => StandardError is { } error
        ? string.Create(CultureInfo.InvariantCulture, $"{Value:0.####} +- {error:0.####}") : Value.ToString("0.####", CultureInfo.InvariantCulture);

    /// <summary>Returns the same text as <see cref="Text"/>.</summary>
    public override string ToString() => Text;
}
