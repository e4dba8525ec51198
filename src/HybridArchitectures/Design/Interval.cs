namespace HybridArchitectures.Design;

/// <summary>Represents a closed range of numbers, from <paramref name="Minimum"/> to <paramref name="Maximum"/>.</summary>
public sealed record Interval(double Minimum, double Maximum)
{
    /// <summary>Checks that a range is not null and that its limits are finite and above 0.</summary>
    internal static void CheckPositive(Interval? range, string name)
    {
        Require.Present(range, name, "a range");
        var (minimum, maximum) = range!;
        Require.That(double.IsFinite(minimum) && double.IsFinite(maximum) && minimum > 0 && minimum <= maximum, name, range,
            "finite limits with 0 < minimum <= maximum");
    }

    internal void CheckOrdered(string name) =>
        Require.That(Minimum >= 0 && Minimum <= Maximum, name, this, "0 <= minimum <= maximum");

    /// <inheritdoc/>
    public override string ToString() => FormattableString.Invariant($"[{Minimum}, {Maximum}]");
}
