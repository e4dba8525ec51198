namespace HybridArchitectures.Cost;

/// <summary>Operations of one block for one token, forward.</summary>
/// <param name="Position">1-based position.</param>
/// <param name="Symbol">The block in pattern notation.</param>
/// <param name="Projections">With the mixer's parameters, and those of the norms where they count.</param>
/// <param name="Mixing">Between positions: attention's products, the scan.</param>
/// <param name="FeedForward">Of the feed-forward.</param>
public sealed record BlockFlops(int Position, string Symbol, double Projections, double Mixing, double FeedForward)
{
    /// <summary>Of the shared transformer it uses, the use's own adapters and projection included.</summary>
    public double Shared { get; init; }

    /// <summary>All of the block.</summary>
    public double Total => Projections + Mixing + FeedForward + Shared;
}
