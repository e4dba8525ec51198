using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes one block: a norm and a mixer, and a norm and a feed-forward. Each half is added to the residual stream. One of the halves can be
/// absent. The norms can also have other positions, see <see cref="Norms"/>. <see cref="HybridDesign.NormKind"/> says which norms they are.
/// </summary>
public sealed record BlockSpec
{
    /// <summary>Gets or sets the mixer. The default, null, means that the block consists of its feed-forward.</summary>
    public MixerSpec? Mixer { get; init; }

    /// <summary>
    /// Gets or sets the use of a shared transformer whose output is added to the input of the mixer. The default, null, means none.
    /// </summary>
    public SharedTransformerUse? Shared { get; init; }

    /// <summary>Gets or sets the feed-forward. The default is <see cref="FeedForwardSpec.None"/>.</summary>
    public FeedForwardSpec FeedForward { get; init; } = FeedForwardSpec.None;

    /// <summary>
    /// Gets or sets whether the norms are applied to the inputs of mixer and feed-forward or to their outputs. The default is
    /// <see cref="NormPlacement.Before"/>.
    /// </summary>
    public NormPlacement Norms { get; init => field = Require.Defined(value, nameof(Norms)); }

    /// <summary>Gets or sets the epsilon of the norms. The default is 1e-5.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Gets or sets the multiplier of the outputs that mixer and feed-forward add to the residual stream. The default is 1.</summary>
    public double ResidualScale { get; init; } = 1;

    /// <summary>
    /// Gets or sets separate multipliers of the residual stream and of the two outputs. The default, null, means 1 for the stream and
    /// <see cref="ResidualScale"/> for both outputs.
    /// </summary>
    public ResidualScales? Scales { get; init; }

    /// <summary>
    /// Gets the block in pattern notation. The feed-forward is marked as in a design with dense feed-forwards and mixtures of experts.
    /// </summary>
    [JsonIgnore]
    public string Symbol => BlockPattern.Print(this, markExperts: true);

    internal BlockSpec Resolve(int width) => this with { Mixer = Resolve(Mixer, width), FeedForward = FeedForward?.Resolve(width)! };

    // Resolve of a custom mixer must return a mixer, and must not change a complete one
    static MixerSpec? Resolve(MixerSpec? mixer, int width)
    {
        if (mixer is not { IsCustom: true }) return mixer?.Resolve(width);
        string name = $"{mixer.GetType().Name}.{nameof(MixerSpec.Resolve)}({width})";
        var complete = mixer.Resolve(width) ?? throw Require.Refusal(name, null, "a mixer with every size filled in");
        Require.That(
            complete is not { IsCustom: true } || complete.Equals(complete.Resolve(width)), name, complete,
            "a mixer that resolves to itself, equal in every property");
        return complete;
    }

    internal void Check(int width)
    {
        Require.Present(FeedForward, "feedForward", "a feed-forward, or FeedForwardSpec.None");
        Require.That(Mixer is not null || !FeedForward.IsNone, "mixer", null, "a mixer in a block without a feed-forward");
        if (Mixer is { IsCustom: true } custom) HybridDesignBuilder.CheckSymbol(custom);
        if (Mixer is { } mixer) Require.Within($"mixer {mixer.Symbol}", () => mixer.Check(width));
        Require.Within("feed-forward", () => FeedForward.Check(width));
        Require.That(Shared is null || Mixer is not null, "shared", Shared, "null in a block without a mixer, to whose input it would be added");
        Require.Positive(NormEpsilon, "normEpsilon");
        Require.Positive(ResidualScale, "residualScale");
        Require.That(Scales is null || ResidualScale == 1, "residualScale", ResidualScale, "1 with separate scales");
        Scales?.Check();
        Require.That(Shared is null || Norms == NormPlacement.Before, "norms", Norms, "Before in a block that uses a shared transformer");
    }
}
