namespace HybridArchitectures.Cost;

/// <summary>Contains the FLOPs of the forward pass of one block for one token.</summary>
/// <param name="Position">The position of the block, counted from 1.</param>
/// <param name="Symbol">The block in pattern notation.</param>
/// <param name="Projections">The FLOPs with the parameters of the mixer, and with those of the norms if they count.</param>
/// <param name="Mixing">The FLOPs between tokens: the products of attention, or the scan.</param>
/// <param name="FeedForward">The FLOPs of the feed-forward.</param>
public sealed record BlockFlops(int Position, string Symbol, double Projections, double Mixing, double FeedForward)
{
    /// <summary>Gets or sets the FLOPs of the shared transformer, including the adapters and the projection of this use.</summary>
    public double Shared { get; init; }

    /// <summary>Gets the FLOPs of the last product of a SwiGLU, whose values nothing reads when the block is computed again.</summary>
    internal double NotRepeated { get; init; }

    /// <summary>Gets the FLOPs of the whole block.</summary>
    public double Total => Projections + Mixing + FeedForward + Shared;
}
