using HybridArchitectures.Design;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Describes how a mixer or feed-forward looks in a strip, and its text in the legend.</summary>
/// <param name="Letter">The text in its box.</param>
/// <param name="Name">The kind of part.</param>
/// <param name="Details">The sizes of the part.</param>
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
        string shared = design.SharedTransformers[use.Transformer].Attention.Describe().Details;
        return look with { Letter = look.Letter + "+", Details = $"{look.Details}, after shared transformer {use.Transformer + 1} ({shared})" };
    }

    public static PartLook From(MixerSpec? mixer)
    {
        if (mixer is null) return new("", "No mixer", "", null, null, Inks.OnLight);
        var kind = mixer.Describe();
        var letter = kind.SecondColor is not null ? Inks.Text : kind.Color == MixerColor.Mamba2 ? Inks.OnDark : Inks.OnLight;
        return new(mixer.Symbol, kind.Name, kind.Details, Inks.Mixer(kind.Color), kind.SecondColor is { } second ? Inks.Mixer(second) : null, letter);
    }

    public static PartLook From(FeedForwardSpec feedForward) => feedForward switch
    {
        NoFeedForward => new("", "No feed-forward", "", null, null, Inks.OnLight),
        SwiGluSpec dense => new("", "SwiGLU", $"width {Figures.Full(dense.Width)}", Inks.FeedForward, null, Inks.OnLight),
        MlpSpec plain => new("", "Feed-forward", $"width {Figures.Full(plain.Width)}{(plain.TokenShift ? ", token shift" : "")}",
            Inks.FeedForward, null, Inks.OnLight),
        MixtureOfExpertsSpec experts => new("", "Mixture of experts", Words(experts), Inks.Experts, null, Inks.OnDark),
        _ => throw Require.Unfit(nameof(feedForward), $"feedForward is a {feedForward.GetType().Name}", "a feed-forward of the library"),
    };

    static string Words(MixtureOfExpertsSpec spec)
    {
        var words = $"{spec.ExpertsPerToken} of {Count(spec.Experts, "expert")}, width {Figures.Full(spec.ExpertWidth)}";
        return spec.SharedExperts > 0 ? $"{words} + shared, width {Figures.Full(spec.SharedWidth)}" : words;
    }

    static string Count(int count, string noun) => count == 1 ? $"1 {noun}" : $"{Figures.Full(count)} {noun}s";
}
