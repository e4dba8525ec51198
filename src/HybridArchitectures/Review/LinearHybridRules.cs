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

    /// <summary>Returns whether a mixer has a state of constant size, so that it knows the order of tokens.</summary>
    internal static bool IsRecurrent(MixerSpec mixer) => mixer is IStateSpaceSpec or GatedDeltaSpec or KimiDeltaSpec or LightningAttentionSpec
        or RgLruSpec or GatedLinearAttentionSpec or Hgrn2Spec or Rwkv7Spec or Mamba3Spec or IntraHybridSpec;

    static bool IsHybrid(HybridDesign design) => Mixers<MixerSpec>(design).Any(entry => IsRecurrent(entry.Mixer));

    static IEnumerable<Finding> Positions(HybridDesign design, ReviewOptions options)
    {
        if (options.MaxContextLength <= options.TrainingLength || !IsHybrid(design)) yield break;
        var rotated = Mixers<MixerSpec>(design).Where(entry => FullAttention.Is(entry.Mixer) && FullAttention.HasPositions(entry.Mixer));
        foreach (var (layer, mixer) in rotated)
            yield return new("hybrid-positions", Severity.Warning, layer,
                FormattableString.Invariant($"full attention rotates positions up to {options.MaxContextLength:N0} after training on ")
                + FormattableString.Invariant($"{options.TrainingLength:N0}; the recurrent blocks already know the order."),
                new("RULER at 128K is 84.3 without and 78.8 with rotary positions in the full attention of the same hybrid; the average of eight "
                    + "benchmarks is 54.5 and 51.8", KimiLinear + ", Table 5"),
                new(".WithoutPositions()", Change<MixerSpec>(layer, FullAttention.WithoutPositions)));
    }

    static IEnumerable<Finding> WideWindow(HybridDesign design, ReviewOptions options)
    {
        int full = Mixers<MixerSpec>(design).Count(entry => FullAttention.Is(entry.Mixer)) + design.Blocks.Count(block => block.Shared is not null);
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
        var attention = Mixers<MixerSpec>(design).Where(entry => entry.Mixer is AttentionSpec || FullAttention.Is(entry.Mixer)
            || entry.Mixer is IntraHybridSpec).ToList();
        if (attention.Count == 0 || attention.Any(entry => FullAttention.HasPositions(entry.Mixer))) yield break;
        foreach (var (layer, mixer) in Mixers<MixerSpec>(design))
            if (WithConvolution(mixer) is { } cured)
                yield return new("no-convolution", Severity.Info, layer,
                    "no convolution tells neighbouring tokens apart, and no attention has positions.",
                    new("a hybrid without positions has a validation perplexity of 5.70 without and 5.65 with short convolutions",
                        KimiLinear + ", Table 1"),
                    new($"a mixer with a short convolution, such as {cured.Describe().Summary}", Change<MixerSpec>(layer, _ => cured)));
    }

    // null for a mixer that has one, or has no state
    static MixerSpec? WithConvolution(MixerSpec mixer) => mixer switch
    {
        Mamba1Spec { ConvolutionWidth: 1 } spec => spec with { ConvolutionWidth = 4 },
        Mamba2Spec { ConvolutionWidth: 1 } spec => spec with { ConvolutionWidth = 4 },
        GatedDeltaSpec { ConvolutionWidth: 1 } spec => spec with { ConvolutionWidth = 4 },
        KimiDeltaSpec { ConvolutionWidth: 1 } spec => spec with { ConvolutionWidth = 4 },
        RgLruSpec { ConvolutionWidth: 1 } spec => spec with { ConvolutionWidth = 4 },
        LightningAttentionSpec spec => Delta(spec.Heads, spec.HeadSize, spec.HeadSize),
        GatedLinearAttentionSpec spec => Delta(spec.Heads, spec.KeyHeadSize, spec.ValueHeadSize),
        Hgrn2Spec spec => Delta(spec.Heads, spec.KeyHeadSize, spec.ValueHeadSize),
        _ => null,
    };

    static GatedDeltaSpec Delta(int heads, int keySize, int valueSize) =>
        new() { KeyHeads = heads, ValueHeads = heads, KeyHeadSize = keySize, ValueHeadSize = valueSize };

    static IEnumerable<Finding> StateTracking(HybridDesign design, ReviewOptions options)
    {
        var deltas = Mixers<MixerSpec>(design).Where(entry => entry.Mixer is GatedDeltaSpec or KimiDeltaSpec).ToList();
        if (!options.StateTracking || deltas.Any(entry => Reflects(entry.Mixer))) yield break;
        foreach (var (layer, _) in deltas)
            yield return new("state-tracking", Severity.Warning, layer,
                "update strengths are at most 1, so no transition of the state changes a sign.",
                new("with finite precision and only positive eigenvalues, no linear recurrence computes the parity of sequences of any length; "
                    + "with eigenvalues from -1 to 1, DeltaNet and Mamba learn it", "arXiv 2411.12537, abstract"),
                new("NegativeEigenvalues = true", Change<MixerSpec>(layer, mixer => mixer switch
                {
                    GatedDeltaSpec spec => spec with { NegativeEigenvalues = true },
                    KimiDeltaSpec spec => spec with { NegativeEigenvalues = true },
                    _ => mixer,
                })));
    }

    // RWKV-7 tracks states: its removals can exceed what its decays leave (arXiv 2503.14456, abstract)
    static bool Reflects(MixerSpec mixer) => mixer is GatedDeltaSpec { NegativeEigenvalues: true } or KimiDeltaSpec { NegativeEigenvalues: true }
        or Rwkv7Spec;
}
