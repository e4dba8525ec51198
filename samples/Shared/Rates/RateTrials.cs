using System.Globalization;
using System.Runtime.CompilerServices;

/// <summary>
/// Contains the results of whole runs of one design at several peak learning rates. Designs are compared at the best rate of each, because a common
/// rate would favour one of them.
/// </summary>
/// <param name="All">The results, in the order of the rates.</param>
[CollectionBuilder(typeof(RateTrials), nameof(Create))]
sealed record RateTrials(IReadOnlyList<RateTrial> All)
{
    /// <summary>Gets the peak learning rate with the lowest loss.</summary>
    public double Best => All.MinBy(trial => trial.Loss)!.Rate;

    /// <summary>Creates the results from a collection expression.</summary>
    public static RateTrials Create(ReadOnlySpan<RateTrial> trials) => new(trials.ToArray());

    /// <summary>Returns the results as text: "1e-3 1.572, 2e-3 1.568".</summary>
    public override string ToString() => string.Join(
        ", ", All.Select(trial => FormattableString.Invariant($"{Text(trial.Rate)} {trial.Loss:0.000}")));

    /// <summary>Returns a rate as text: "3e-3".</summary>
    public static string Text(double rate) => rate.ToString("0.##e-0", CultureInfo.InvariantCulture);

    /// <summary>Enumerates the results. A collection expression takes the type of its elements from here.</summary>
    public IEnumerator<RateTrial> GetEnumerator() => All.GetEnumerator();
}
