namespace HybridArchitectures.Design;

/// <summary>One block of a pattern string.</summary>
/// <param name="Mixer">The mixer's letter; null: no mixer.</param>
/// <param name="FeedForward">The feed-forward asked for.</param>
public sealed record PatternBlock(string? Mixer, PatternFeedForward FeedForward)
{
    /// <summary>The block in pattern notation.</summary>
    public override string ToString() => (Mixer ?? "-") + FeedForward switch { PatternFeedForward.Experts => "e", PatternFeedForward.None => "~", _ => "" };
}
