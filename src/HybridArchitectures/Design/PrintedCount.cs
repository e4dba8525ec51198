using System.Globalization;

namespace HybridArchitectures.Design;

/// <summary>Represents a parameter count that the paper prints, always without the embedding.</summary>
/// <param name="Table">The table of the paper.</param>
/// <param name="Billions">The printed number in billions. It was rounded to its last digit.</param>
/// <param name="Deviation">Why the count of this design does not round to it. Null if it does.</param>
public sealed record PrintedCount(string Table, string Billions, string? Deviation = null)
{
    /// <summary>Returns whether a number of parameters rounds to the figure.</summary>
    /// <param name="nonEmbedding">Parameters without the embedding.</param>
    public bool Holds(long nonEmbedding)
    {
        decimal printed = decimal.Parse(Billions, CultureInfo.InvariantCulture);
        return Math.Round(nonEmbedding / 1e9m, printed.Scale, MidpointRounding.AwayFromZero) == printed;
    }

    /// <summary>Returns number and table as text, for example <c>0.96B (Table 8)</c>.</summary>
    public override string ToString() => $"{Billions}B ({Table})";
}
