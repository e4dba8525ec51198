using System.Globalization;
using HybridArchitectures.Cost;

namespace HybridArchitectures.Design;

/// <summary>A count of parameters as the paper prints it, always without the embedding.</summary>
/// <param name="Table">The table it stands in.</param>
/// <param name="Billions">The figure as printed, in billions; its last digit is what it was rounded to.</param>
/// <param name="Deviation">Why this design does not round to it; null if it does.</param>
public sealed record PrintedCount(string Table, string Billions, string? Deviation = null)
{
    /// <summary>Whether a count rounds to the figure.</summary>
    public bool Holds(ParameterCount count)
    {
        ArgumentNullException.ThrowIfNull(count);
        decimal printed = decimal.Parse(Billions, CultureInfo.InvariantCulture);
        return Math.Round(count.NonEmbedding / 1e9m, printed.Scale, MidpointRounding.AwayFromZero) == printed;
    }

    /// <summary>Such as <c>0.96B (Table 8)</c>.</summary>
    public override string ToString() => $"{Billions}B ({Table})";
}
