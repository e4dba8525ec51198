namespace HybridArchitectures.Design;

/// <summary>Represents the absence of a feed-forward, see <see cref="FeedForwardSpec.None"/>.</summary>
public sealed record NoFeedForward : FeedForwardSpec
{
    /// <inheritdoc/>
    public override long CountParameters(int width) => 0;

    /// <inheritdoc/>
    public override void Check(int width) { }
}
