namespace HybridArchitectures.Design;

/// <summary>One block of a pattern string.</summary>
/// <param name="Mixer">The mixer's letter; null: no mixer.</param>
/// <param name="FeedForward">The feed-forward asked for.</param>
/// <param name="Shared">A shared transformer before the mixer.</param>
public sealed record PatternBlock(string? Mixer, PatternFeedForward FeedForward, bool Shared = false)
{
    internal static EquatableList<PatternBlock> Unshared(IEnumerable<PatternBlock> blocks, string notation)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        var list = blocks.ToEquatableList();
        for (int i = 0; i < list.Count; i++)
        {
            Require.That(list[i] is { Mixer: not null } or { FeedForward: not PatternFeedForward.None }, nameof(blocks), list[i].ToString(), $"a mixer or a feed-forward in block {i + 1}");
            Require.That(!list[i].Shared, nameof(blocks), list[i].ToString(), $"no shared transformer in block {i + 1}, since {notation} cannot say it");
        }
        return list;
    }

    /// <summary>The block in pattern notation.</summary>
    public override string ToString() => (Mixer ?? "-") + (Shared ? "+" : "") + FeedForward switch { PatternFeedForward.Experts => "e", PatternFeedForward.None => "~", _ => "" };
}
