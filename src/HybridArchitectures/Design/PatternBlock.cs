namespace HybridArchitectures.Design;

/// <summary>Represents one block of a pattern string.</summary>
/// <param name="Mixer">The letter of the mixer. Null means no mixer.</param>
/// <param name="FeedForward">The requested feed-forward.</param>
/// <param name="Shared">Whether a shared transformer comes before the mixer. The default is false.</param>
public sealed record PatternBlock(string? Mixer, PatternFeedForward FeedForward, bool Shared = false)
{
    /// <summary>Gets the requested feed-forward.</summary>
    public PatternFeedForward FeedForward { get; init => field = Require.Defined(value, nameof(FeedForward)); } =
        Require.Defined(FeedForward, nameof(FeedForward));

    internal static EquatableList<PatternBlock> Unshared(IEnumerable<PatternBlock> blocks, string notation)
    {
        var list = Require.EachItem(blocks).ToEquatableList();
        for (int i = 0; i < list.Count; i++)
        {
            Require.That(
                list[i] is { Mixer: not null } or { FeedForward: not PatternFeedForward.None }, nameof(blocks), list[i].ToString(),
                $"a mixer or a feed-forward in block {i + 1}");
            Require.That(
                !list[i].Shared, nameof(blocks), list[i].ToString(), $"no shared transformer in block {i + 1}, because {notation} cannot express it");
        }
        return list;
    }

    /// <summary>Returns the block in pattern notation.</summary>
    public override string ToString() =>
        (Mixer ?? "-") + (Shared ? "+" : "") + FeedForward switch { PatternFeedForward.Experts => "e", PatternFeedForward.None => "~", _ => "" };
}
