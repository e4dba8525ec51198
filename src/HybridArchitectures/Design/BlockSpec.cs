using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>One block: an RMSNorm and a mixer, an RMSNorm and a feed-forward, each added to the residual stream. Either half may be absent, not both.</summary>
public sealed record BlockSpec
{
    /// <summary>What mixes positions; null: the block is its feed-forward alone.</summary>
    public MixerSpec? Mixer { get; init; }

    /// <summary>A transformer shared with other blocks, whose result joins the mixer's input; null: none.</summary>
    public SharedTransformerUse? Shared { get; init; }

    /// <summary>What follows it.</summary>
    public FeedForwardSpec FeedForward { get; init; } = FeedForwardSpec.None;

    /// <summary>Epsilon of the block's norms.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Factor on what mixer and feed-forward add to the residual stream.</summary>
    public double ResidualScale { get; init; } = 1;

    /// <summary>The block in pattern notation, with its feed-forward marked as in a design that has both dense ones and mixtures.</summary>
    [JsonIgnore]
    public string Symbol => BlockPattern.Print(this, markExperts: true);

    internal BlockSpec Resolve(int width) => this with { Mixer = Resolve(Mixer, width), FeedForward = FeedForward?.Resolve(width)! };

    // a custom mixer's own Resolve must not lose the mixer, nor go on changing what is complete
    static MixerSpec? Resolve(MixerSpec? mixer, int width)
    {
        if (mixer is not CustomMixerSpec) return mixer?.Resolve(width);
        string name = $"{mixer.GetType().Name}.{nameof(MixerSpec.Resolve)}({width})";
        var complete = mixer.Resolve(width) ?? throw Require.Refusal(name, null, "a mixer with every size filled in");
        Require.That(complete is not CustomMixerSpec || complete.Equals(complete.Resolve(width)), name, complete, "a mixer that resolves to itself, equal in every property");
        return complete;
    }

    internal void Check(int width)
    {
        Require.Present(FeedForward, "feedForward", "a feed-forward, or FeedForwardSpec.None");
        Require.That(Mixer is not null || !FeedForward.IsNone, "mixer", null, "a mixer in a block without feed-forward");
        if (Mixer is CustomMixerSpec custom) HybridDesignBuilder.CheckSymbol(custom);
        if (Mixer is { } mixer) Require.Within($"mixer {mixer.Symbol}", () => mixer.Check(width));
        Require.Within("feed-forward", () => FeedForward.Check(width));
        Require.That(Shared is null || Mixer is not null, "shared", Shared, "none in a block without mixer, whose input it would join");
        Require.Positive(NormEpsilon, "normEpsilon");
        Require.Positive(ResidualScale, "residualScale");
    }
}
