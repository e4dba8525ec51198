using System.Globalization;

namespace HybridArchitectures.Evaluation.Statistics;

/// <summary>Contains an interval that covers the true number with a probability of 95 %.</summary>
/// <param name="Low">The lower end.</param>
/// <param name="High">The upper end.</param>
public sealed record ConfidenceInterval(double Low, double High)
{
    internal static ConfidenceInterval Around(double value, double half) => new(value - half, value + half);

    /// <summary>Returns a text such as <c>[-0.031, -0.012]</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"[{Low:0.####}, {High:0.####}]");
}
