using System.Globalization;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Statistics;

/// <summary>
/// Compares two designs by pairs of runs with the same seed. The noise that both runs of a pair share (order of the data, in part the initial
/// weights) cancels in the differences.
/// </summary>
/// <param name="Difference">The mean over pairs of the second number minus the first, with its standard error.</param>
/// <param name="TTestP">The two-sided p-value of the paired t-test, or null for fewer than two pairs or equal differences.</param>
/// <param name="PermutationP">
/// The two-sided p-value of the permutation test, which swaps the numbers of pairs: the share of sign patterns whose mean difference is at least as
/// large. It is exact up to 16 pairs. Beyond that it is estimated from 100,000 patterns of a fixed seed. With n pairs it is at least 2 / 2^n. It is
/// null for fewer than two pairs and for numbers that are not finite.
/// </param>
public sealed record PairedComparison(Estimate Difference, double? TTestP, double? PermutationP)
{
    const int MaxExactPairs = 16, Patterns = 100_000;

    /// <summary>Gets the number of pairs.</summary>
    public int Pairs => (int)Difference.Count;

    /// <summary>
    /// Gets the 95 % confidence interval of the difference by the t-distribution with n - 1 degrees of freedom, or null for fewer than two pairs. It
    /// contains 0 exactly if <see cref="IsBelowNoise"/> is true.
    /// </summary>
    public ConfidenceInterval? Interval => Difference.StandardError is { } error
        ? ConfidenceInterval.Around(Difference.Value, error * StudentT.TwoSidedQuantile(0.05, Pairs - 1)) : null;

    /// <summary>
    /// Gets whether the difference may be noise: there are fewer than two pairs, the p-value of the t-test is 0.05 or more, or a number is not
    /// finite. The permutation test cannot reach 0.05 with fewer than six pairs, so this property ignores it.
    /// </summary>
    public bool IsBelowNoise => Pairs < 2 || !double.IsFinite(Difference.Value) || (TTestP is { } p ? p >= 0.05 : Difference.Value == 0);

    /// <summary>Compares two designs by pairs of numbers.</summary>
    /// <param name="first">The numbers of the first design, one per seed.</param>
    /// <param name="second">The numbers of the second design, for the same seeds in the same order.</param>
    /// <exception cref="ArgumentException">The counts differ or are 0.</exception>
    public static PairedComparison Compare(IReadOnlyList<double> first, IReadOnlyList<double> second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        Require.InRange(first.Count > 0, $"{nameof(first)}.Count", first.Count, "at least 1 number");
        Require.InRange(second.Count == first.Count, $"{nameof(second)}.Count", second.Count, $"{first.Count} numbers, as many as in first");
        double[] differences = [.. first.Zip(second, (a, b) => b - a)];
        var mean = Estimate.FromSamples(differences);
        double? t = mean.StandardError is > 0 ? StudentT.TwoSidedP(mean.Value / mean.StandardError.Value, differences.Length - 1) : null;
        return new(mean, t, differences.Length < 2 || !double.IsFinite(mean.Value) ? null : Permuted(differences));
    }

    static double Permuted(double[] differences)
    {
        // a hair less than the observed, so that rounding does not hide the pattern itself
        double observed = Math.Abs(differences.Sum()) * (1 - 1e-12);
        if (differences.Length <= MaxExactPairs)
        {
            int all = 1 << differences.Length;
            return (double)Enumerable.Range(0, all).Count(pattern => Math.Abs(Signed(differences, i => (pattern >> i & 1) == 1)) >= observed) / all;
        }
        var random = new SeededRandom(0);
        int reached = 1;        // the observed pattern itself
        for (int i = 1; i < Patterns; i++)
            if (Math.Abs(Signed(differences, _ => random.Next(2) == 1)) >= observed) reached++;
        return (double)reached / Patterns;
    }

    static double Signed(double[] differences, Func<int, bool> isSwapped)
    {
        double sum = 0;
        for (int i = 0; i < differences.Length; i++) sum += isSwapped(i) ? -differences[i] : differences[i];
        return sum;
    }

    /// <summary>Gets the p-value of the t-test as a text, such as <c>p 0.030</c>, or null if there is none. It is never 0.</summary>
    internal string? Probability => TTestP is { } value
        ? value < 0.001 ? "p < 0.001" : string.Create(CultureInfo.InvariantCulture, $"p {value:0.000}") : null;

    /// <summary>Gets a text such as <c>-0.021 +- 0.004 over 3 seeds, p 0.030</c>. It marks a difference that may be noise.</summary>
    public string Text
    {
        get
        {
            string seeds = Pairs == 1 ? "1 seed" : $"{Pairs} seeds";
            string p = Probability is { } value ? $", {value}" : "";
            return $"{Difference} over {seeds}{p}{(IsBelowNoise ? " (below noise)" : "")}";
        }
    }

    /// <summary>Returns the same text as <see cref="Text"/>.</summary>
    public override string ToString() => Text;
}
