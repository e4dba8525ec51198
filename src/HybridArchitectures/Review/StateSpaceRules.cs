using System.Globalization;
using System.Numerics;
using HybridArchitectures.Design;
using static HybridArchitectures.Review.DesignRules;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules about states, chunks and initial values of state-space layers.</summary>
static class StateSpaceRules
{
    const int MinChunk = 16, MaxChunk = 256;

    public static IReadOnlyList<DesignRule> All { get; } =
    [
        new("recall", "No full attention, and a state size below the number of pairs to recall.", Recall),
        new("chunk-size", "A Mamba-2 chunk size below 16 or above 256.", Chunk),
        new("norm-groups", "A gated norm whose number of groups is neither 1 nor that of B and C.", NormGroups),
        new("decay-range", "A range of initial decays that goes below 0.01.", Decay),
    ];

    static IEnumerable<(int Layer, Mamba2Spec Mamba)> Mamba2s(HybridDesign design) =>
        StateSpaces(design).Where(entry => entry.StateSpace is Mamba2Spec).Select(entry => (entry.Layer, (Mamba2Spec)entry.StateSpace));

    static IEnumerable<Finding> Recall(HybridDesign design, ReviewOptions options)
    {
        if (options.RecalledPairs == 0 || Attentions(design).Select(entry => entry.Attention)
            .Concat(design.SharedTransformers.Select(transformer => transformer.Attention)).Any(attention => attention.Window is null)) yield break;
        var layers = StateSpaces(design).ToList();
        if (layers.Count == 0) yield break;
        var (layer, best) = layers.MaxBy(entry => entry.StateSpace.StateSize);
        if (best.StateSize >= options.RecalledPairs) yield break;
        int size = (int)Math.Min(BitOperations.RoundUpToPowerOf2((uint)options.RecalledPairs), Require.MaxSize);
        yield return new("recall", Severity.Warning, layer,
            string.Create(CultureInfo.InvariantCulture,
                $"the maximum state size {best.StateSize} distinguishes {best.StateSize} keys; "
                + $"{options.RecalledPairs} must be recalled."),
            new(string.Create(CultureInfo.InvariantCulture,
                $"a state of {best.StateSize} per channel is a matrix of rank {best.StateSize} at most, "
                + $"which cannot distinguish more keys"),
                "follows from the recurrence; measured for recall in arXiv 2312.04927 and 2402.18668"),
            new($"StateSize = {size}, or one block of full attention", Change<MixerSpec>(layer, mixer => Resized(mixer, size))));
    }

    static MixerSpec Resized(MixerSpec mixer, int size) => mixer switch
    {
        Mamba2Spec mamba => mamba with { StateSize = size },
        Mamba1Spec mamba => mamba with { StateSize = size },
        IntraHybridSpec intra => intra with { StateSpace = Resized(intra.StateSpace, size) },
        _ => mixer,
    };

    static IEnumerable<Finding> Chunk(HybridDesign design, ReviewOptions options)
    {
        foreach (var (layer, mamba) in Mamba2s(design).Where(entry => entry.Mamba.ChunkSize is < MinChunk or > MaxChunk))
            yield return new("chunk-size", Severity.Info, layer, $"the chunk size is {mamba.ChunkSize}.",
                new(string.Create(CultureInfo.InvariantCulture,
                    $"FLOPs within a chunk are {mamba.ChunkSize / (2.0 * mamba.StateSize):0.00} "
                    + $"of those with the state; short chunks save more states, long ones need more FLOPs"),
                    "arXiv 2405.21060, section 6"),
                new("ChunkSize = 64", ChangeMamba2(layer, spec => spec with { ChunkSize = 64 }), Safe: true));
    }

    static IEnumerable<Finding> NormGroups(HybridDesign design, ReviewOptions options)
    {
        foreach (var (layer, mamba) in Mamba2s(design)
            .Where(entry => entry.Mamba.GatedNorm && entry.Mamba.GatedNormGroups is var groups && groups != 1 && groups != entry.Mamba.Groups))
            yield return new("norm-groups", Severity.Info, layer,
                $"the gated norm has {mamba.GatedNormGroups} groups, and B and C have {mamba.Groups}.",
                new("published models use 1 group or the groups of B and C; no published checkpoint uses another number",
                    "state-spaces/mamba; github.com/ggml-org/llama.cpp, issue 15507"),
                new($"NormGroups = {mamba.Groups}", ChangeMamba2(layer, spec => spec with { NormGroups = spec.Groups }), Safe: true));
    }

    static IEnumerable<Finding> Decay(HybridDesign design, ReviewOptions options)
    {
        foreach (var (layer, mamba) in Mamba2s(design).Where(entry => entry.Mamba.DecayRange.Minimum < 0.01))
        {
            var range = new Interval(0.01, Math.Max(2, mamba.DecayRange.Maximum));
            yield return new("decay-range", Severity.Warning, layer,
                FormattableString.Invariant($"the initial decay may be {mamba.DecayRange.Minimum}."),
                new("0.01 is the minimum that prevents heads from freezing in bfloat16; the paper uses [0.01, 2]",
                "github.com/pytorch/torchtitan, pull request 4178; " + Paper),
                new(FormattableString.Invariant($"DecayRange = new({range.Minimum}, {range.Maximum})"),
                ChangeMamba2(layer, spec => spec with { DecayRange = range }), Safe: true));
        }
    }
}
