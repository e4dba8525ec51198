namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains the load of the experts of one layer.</summary>
/// <param name="Block">The block, from 1.</param>
/// <param name="Shares">The share of all choices that selected each expert. The sum is 1.</param>
public sealed record RouterLoad(int Block, IReadOnlyList<double> Shares)
{
    /// <summary>Gets the load of the busiest expert relative to an equal load. It is 1 if all are equal.</summary>
    public double MaxOverMean => Shares.Max() * Shares.Count;
}
