namespace HybridArchitectures.Cost;

/// <summary>Trainable parameters of one block.</summary>
/// <param name="Position">1-based position.</param>
/// <param name="Symbol">The block in pattern notation.</param>
/// <param name="Mixer">Of the mixer.</param>
/// <param name="FeedForward">Of the feed-forward, all experts counted.</param>
/// <param name="Norms">Of the norms before either.</param>
/// <param name="ActiveFeedForward">Of the feed-forward, as far as one token uses them.</param>
public sealed record BlockParameters(int Position, string Symbol, long Mixer, long FeedForward, long Norms, long ActiveFeedForward)
{
    /// <summary>What its use of a shared transformer adds: adapters and projection.</summary>
    public long SharedUse { get; init; }

    /// <summary>All of the block.</summary>
    public long Total => Mixer + FeedForward + Norms + SharedUse;

    /// <summary>What one token uses of the block.</summary>
    public long Active => Mixer + ActiveFeedForward + Norms + SharedUse;
}
