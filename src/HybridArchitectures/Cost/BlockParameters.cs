namespace HybridArchitectures.Cost;

/// <summary>Contains the trainable parameters of one block.</summary>
/// <param name="Position">The position of the block, counted from 1.</param>
/// <param name="Symbol">The block in pattern notation.</param>
/// <param name="Mixer">The parameters of the mixer.</param>
/// <param name="FeedForward">The parameters of the feed-forward, including all experts.</param>
/// <param name="Norms">The parameters of the norms.</param>
/// <param name="ActiveFeedForward">The parameters of the feed-forward that one token uses.</param>
public sealed record BlockParameters(int Position, string Symbol, long Mixer, long FeedForward, long Norms, long ActiveFeedForward)
{
    /// <summary>Gets or sets the parameters that the use of a shared transformer adds: adapters and projection.</summary>
    public long SharedUse { get; init; }

    /// <summary>Gets the parameters of the whole block.</summary>
    public long Total => Mixer + FeedForward + Norms + SharedUse;

    /// <summary>Gets the parameters of the block that one token uses.</summary>
    public long Active => Mixer + ActiveFeedForward + Norms + SharedUse;
}
