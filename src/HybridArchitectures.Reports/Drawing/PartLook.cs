using HybridArchitectures.Design;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Describes how a mixer or feed-forward looks in a strip, and its text in the legend.</summary>
/// <param name="Letter">The text in its box.</param>
/// <param name="Name">Its kind.</param>
/// <param name="Details">Its sizes.</param>
/// <param name="Fill">Its colour. Null for an absent part.</param>
/// <param name="Second">The colour of the lower half of the box, for a mixer with two branches.</param>
/// <param name="OnFill">The colour of the letter.</param>
sealed record PartLook(string Letter, string Name, string Details, Ink? Fill, Ink? Second, Ink OnFill)
{
    /// <summary>Returns the look of the mixer of a block, including the shared transformer before it.</summary>
    public static PartLook From(HybridDesign design, BlockSpec block)
    {
        var look = From(block.Mixer);
        if (block.Shared is not { } use) return look;
        return look with { Letter = look.Letter + "+", Details = $"{look.Details}, after shared transformer {use.Transformer + 1} ({Words(design.SharedTransformers[use.Transformer].Attention)})" };
    }

    public static PartLook From(MixerSpec? mixer) => mixer switch
    {
        null => new("", "No mixer", "", null, null, Inks.OnLight),
        AttentionSpec { Window: null } attention => new(attention.Symbol, "Attention", Words(attention), Inks.Attention, null, Inks.OnLight),
        AttentionSpec window => new(window.Symbol, "Sliding-window attention", Words(window), Inks.Window, null, Inks.OnLight),
        Mamba1Spec mamba => new(mamba.Symbol, "Mamba-1", Words(mamba), Inks.Mamba1, null, Inks.OnLight),
        Mamba2Spec mamba => new(mamba.Symbol, "Mamba-2", Words(mamba), Inks.Mamba2, null, Inks.OnDark),
        GatedDeltaSpec delta => new(delta.Symbol, "Gated delta net", $"{Count(delta.ValueHeads, "head")} × {delta.ValueHeadSize}, keys {delta.KeyHeads} × {delta.KeyHeadSize}", Inks.Custom, null, Inks.OnLight),
        IntraHybridSpec hybrid => Hybrid(hybrid),
        _ => new(mixer.Symbol, Spaced(mixer.GetType().Name), "", Inks.Custom, null, Inks.OnLight),
    };

    public static PartLook From(FeedForwardSpec feedForward) => feedForward switch
    {
        NoFeedForward => new("", "No feed-forward", "", null, null, Inks.OnLight),
        SwiGluSpec dense => new("", "SwiGLU", $"width {Figures.Full(dense.Width)}", Inks.FeedForward, null, Inks.OnLight),
        MlpSpec plain => new("", "Feed-forward", $"width {Figures.Full(plain.Width)}", Inks.FeedForward, null, Inks.OnLight),
        MixtureOfExpertsSpec experts => new("", "Mixture of experts", Words(experts), Inks.Experts, null, Inks.OnDark),
        _ => new("", Spaced(feedForward.GetType().Name), "", Inks.Custom, null, Inks.OnLight),
    };

    static PartLook Hybrid(IntraHybridSpec hybrid)
    {
        var (attention, stateSpace) = (From(hybrid.Attention), From(hybrid.StateSpace));
        var fusion = hybrid.Fusion switch
        {
            FusionKind.Difference => $"{stateSpace.Name} minus attention",
            FusionKind.Add => $"{stateSpace.Name} plus attention",
            FusionKind.Concat => $"{stateSpace.Name} beside attention",
            _ => $"{stateSpace.Name} and attention, gated",
        };
        return new(hybrid.Symbol, "Intra-layer hybrid", $"{fusion}: {stateSpace.Details} | {attention.Details}", stateSpace.Fill, attention.Fill, Inks.Text);
    }

    static string Words(AttentionSpec spec)
    {
        var sizes = spec.HeadSize == spec.ValueHeadSize ? $"{spec.HeadSize}" : $"{spec.HeadSize} (values {spec.ValueHeadSize})";
        var words = $"{Count(spec.Heads, "head")} × {sizes}";
        if (spec.KeyValueHeads != spec.Heads) words += $", {Count(spec.KeyValueHeads, "key-value head")}";
        if (spec.Window is { } window) words += spec.Sinks > 0 ? $", window {window} + {Count(spec.Sinks, "sink")}" : $", window {window}";
        return words + (spec.Rotary is null ? ", no positions" : "");
    }

    static string Words(Mamba1Spec spec) => $"inner width {Figures.Full(spec.InnerWidth)}, state {spec.StateSize}";

    static string Words(Mamba2Spec spec) =>
        $"{Count(spec.Heads, "head")} × {spec.HeadSize}, state {spec.StateSize}" + (spec.Groups > 1 ? $", {spec.Groups} groups" : "");

    static string Words(MixtureOfExpertsSpec spec)
    {
        var words = $"{spec.ExpertsPerToken} of {Count(spec.Experts, "expert")}, width {Figures.Full(spec.ExpertWidth)}";
        return spec.SharedExperts > 0 ? $"{words} + shared, width {Figures.Full(spec.SharedWidth)}" : words;
    }

    static string Count(int count, string noun) => count == 1 ? $"1 {noun}" : $"{Figures.Full(count)} {noun}s";

    // MyOwnMixerSpec becomes "My own mixer"
    static string Spaced(string type)
    {
        var name = type.EndsWith("Spec", StringComparison.Ordinal) && type.Length > 4 ? type[..^4] : type;
        return name[0] + string.Concat(name.Skip(1).Select(letter => char.IsUpper(letter) ? $" {char.ToLowerInvariant(letter)}" : letter.ToString()));
    }
}
