namespace HybridArchitectures.Design;

/// <summary>Represents a closed range of numbers, from <paramref name="Minimum"/> to <paramref name="Maximum"/>.</summary>
public sealed record Interval(double Minimum, double Maximum)
{
    internal void CheckPositive(string name) =>
        Require.That(double.IsFinite(Minimum) && double.IsFinite(Maximum) && Minimum > 0 && Minimum <= Maximum, name, this,
            "finite limits with 0 < minimum <= maximum");

    internal void CheckOrdered(string name) =>
        Require.That(Minimum >= 0 && Minimum <= Maximum, name, this, "0 <= minimum <= maximum");

    /// <inheritdoc/>
    public override string ToString() => FormattableString.Invariant($"[{Minimum}, {Maximum}]");
}
