using HybridArchitectures.Design;
using static HybridArchitectures.Review.DesignRules;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules about attention next to recurrent layers: positions, windows, convolutions and what states can track.</summary>
static class LinearHybridRules
{
    const int MaxWindow = 1024, WindowsPerFullBlock = 4;

    const string KimiLinear = "arXiv 2510.26692";

    public static IReadOnlyList<DesignRule> All { get; } =
    [
        new("hybrid-positions", "Positions in the full attention of a hybrid, for sequences longer than those in training.", Positions),
        new("wide-window", "A window above 1,024 tokens next to few blocks of full attention.", WideWindow),
        new("no-convolution", "A recurrent mixer without a short convolution, and attention without positions.", Convolution),
        new("state-tracking", "Update strengths of at most 1 in a model that must track states.", StateTracking),
    ];

    static bool IsHybrid(HybridDesign design) => Mixers<MixerSpec>(design).Any(entry => entry.Mixer.Kind is MixerKind.Recurrent or MixerKind.Both);

    static IEnumerable<Finding> Positions(HybridDesign design, ReviewOptions options)
    {
        if (options.MaxContextLength <= options.TrainingLength || !IsHybrid(design)) yield break;
        var rotated = Mixers<MixerSpec>(design).Where(entry => entry.Mixer.IsFullAttention && entry.Mixer.HasPositions);
        foreach (var (layer, mixer) in rotated)
            yield return new("hybrid-positions", Severity.Warning, layer,
                FormattableString.Invariant($"full attention rotates positions up to {options.MaxContextLength:N0} after training on ")
                + FormattableString.Invariant($"{options.TrainingLength:N0}; the recurrent blocks already know the order."),
                new("RULER at 128K is 84.3 without and 78.8 with rotary positions in the full attention of the same hybrid; the average of eight "
                    + "benchmarks is 54.5 and 51.8", KimiLinear + ", Table 5"),
                new(".WithoutPositions()", Change<MixerSpec>(layer, spec => spec.WithoutPositions())));
    }

    static IEnumerable<Finding> WideWindow(HybridDesign design, ReviewOptions options)
    {
        int full = Mixers<MixerSpec>(design).Count(entry => entry.Mixer.IsFullAttention) + design.Blocks.Count(block => block.Shared is not null);
        var windows = Attentions(design).Where(entry => entry.Attention.Window is not null).ToList();
        if (full * WindowsPerFullBlock > windows.Count) yield break;
        foreach (var (layer, attention) in windows.Where(entry => entry.Attention.Window > MaxWindow))
            yield return new("wide-window", Severity.Info, layer, FormattableString.Invariant($"the window is {attention.Window:N0} tokens long."),
                new("Gemma 3 has windows of 1,024 with one full block in six; next to recurrent layers, longer windows do not improve results on "
                    + "long contexts, but short windows can harm those on short contexts", "arXiv 2503.19786; arXiv 2509.24552, abstract"),
                new($"Window = {MaxWindow}", ChangeAttention(layer, spec => spec with { Window = MaxWindow })));
    }

    static IEnumerable<Finding> Convolution(HybridDesign design, ReviewOptions options)
    {
        var attention = Mixers<MixerSpec>(design).Where(entry => entry.Mixer.Kind is MixerKind.Attention or MixerKind.Both).ToList();
        if (attention.Count == 0 || attention.Any(entry => entry.Mixer.HasPositions)) yield break;
        foreach (var (layer, mixer) in Mixers<MixerSpec>(design))
            if (mixer.WithConvolution() is { } cured)
                yield return new("no-convolution", Severity.Info, layer,
                    "no convolution tells neighbouring tokens apart, and no attention has positions.",
                    new("a hybrid without positions has a validation perplexity of 5.70 without and 5.65 with short convolutions",
                        KimiLinear + ", Table 1"),
                    new($"a mixer with a short convolution, such as {cured.Describe().Summary}", Change<MixerSpec>(layer, _ => cured)));
    }

    static IEnumerable<Finding> StateTracking(HybridDesign design, ReviewOptions options)
    {
        var mixers = Mixers<MixerSpec>(design).ToList();
        if (!options.StateTracking || mixers.Any(entry => entry.Mixer.TracksStates)) yield break;
        foreach (var (layer, _) in mixers.Where(entry => entry.Mixer.WithStateTracking() is not null))
            yield return new("state-tracking", Severity.Warning, layer,
                "update strengths are at most 1, so no transition of the state changes a sign.",
                new("with finite precision and only positive eigenvalues, no linear recurrence computes the parity of sequences of any length; "
                    + "with eigenvalues from -1 to 1, DeltaNet and Mamba learn it", "arXiv 2411.12537, abstract"),
                new("NegativeEigenvalues = true", Change<MixerSpec>(layer, mixer => mixer.WithStateTracking() ?? mixer)));
    }
}
