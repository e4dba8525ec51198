using System.Numerics;
using HybridArchitectures.Design;
using static HybridArchitectures.Review.DesignRules;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules about numbers with which a model is not possible. They see designs that have not been checked.</summary>
static class BuildRules
{
    public static IReadOnlyList<DesignRule> All { get; } =
    [
        new("head-groups", "A number of heads that is not divisible by that of groups, or of key and value heads.", Groups) { SeesUnchecked = true },
        new("chunk-power", "A chunk size that is not a power of two.", Chunks) { SeesUnchecked = true },
    ];

    // 0 key and value heads mean as many as heads
    static IEnumerable<Finding> Groups(HybridDesign design, ReviewOptions options)
    {
        foreach (var (layer, attention) in Attentions(design))
            if (attention.KeyValueHeads != 0 && Shared(attention.Heads, attention.KeyValueHeads) is { } heads)
                yield return Uneven(layer, "heads", attention.Heads, "key and value heads", attention.KeyValueHeads, $"KeyValueHeads = {heads}",
                    ChangeAttention(layer, spec => spec with { KeyValueHeads = heads }));
        foreach (var (layer, stateSpace) in StateSpaces(design))
            if (stateSpace is Mamba2Spec mamba && Shared(mamba.Heads, mamba.Groups) is { } groups)
                yield return Uneven(layer, "heads", mamba.Heads, "groups of B and C", mamba.Groups, $"Groups = {groups}",
                    ChangeMamba2(layer, spec => spec with { Groups = groups,
                        NormGroups = spec.NormGroups == spec.Groups ? groups : spec.NormGroups }));
        foreach (var (layer, delta) in Mixers<GatedDeltaSpec>(design))
            if (Shared(delta.ValueHeads, delta.KeyHeads) is { } keys)
                yield return Uneven(layer, "value heads", delta.ValueHeads, "key heads", delta.KeyHeads, $"KeyHeads = {keys}",
                    Change<GatedDeltaSpec>(layer, spec => spec with { KeyHeads = keys }));
        for (int i = 0; i < design.SharedTransformers.Count; i++)
        {
            var (index, attention) = (i, design.SharedTransformers[i].Attention);
            if (attention.KeyValueHeads != 0 && Shared(attention.Heads, attention.KeyValueHeads) is { } heads)
                yield return Uneven(null, $"heads of shared transformer {i}", attention.Heads, "key and value heads", attention.KeyValueHeads,
                    $"KeyValueHeads = {heads}", whole => whole with
                {
                    SharedTransformers = whole.SharedTransformers.With(
                        index, whole.SharedTransformers[
                        index] with { Attention = whole.SharedTransformers[index].Attention with { KeyValueHeads = heads } }),
                });
        }
    }

    // the next smaller number that divides the heads; null if the given one does
    static int? Shared(int heads, int among)
    {
        if (heads < 1 || (among >= 1 && heads % among == 0)) return null;
        int fewer = Math.Clamp(among, 1, heads);
        while (heads % fewer != 0) fewer--;
        return fewer;
    }

    static Finding Uneven(int? layer, string heads, int count, string others, int among, string change, Func<HybridDesign, HybridDesign> apply) =>
        new("head-groups", Severity.Error, layer, $"{count} {heads} cannot be divided among {among} {others}.",
            new($"{count} / {among} is not an integer; each one serves the same number of neighbouring heads",
            "arXiv 2305.13245, section 2.2; arXiv 2405.21060, section 7"), new(change, apply));

    static IEnumerable<Finding> Chunks(HybridDesign design, ReviewOptions options)
    {
        foreach (var (layer, mixer) in Mixers<MixerSpec>(design))
            if (mixer.Chunks is { } chunks && Nearest(chunks.Size) is { } size)
                yield return Uneven(layer, chunks.Size, size, Change<MixerSpec>(layer, spec => spec.Chunks is { } own ? own.Change(size) : spec));
    }

    // null if the size is already a power of two
    static int? Nearest(int size)
    {
        if (size > 0 && BitOperations.IsPow2(size)) return null;
        if (size < 1) return 64;
        long above = (long)BitOperations.RoundUpToPowerOf2((uint)size), below = above / 2;
        return (int)(size - below < above - size || above > 1 << 30 ? below : above);
    }

    static Finding Uneven(int layer, int chunk, int size, Func<HybridDesign, HybridDesign> apply) =>
        new("chunk-power", Severity.Error, layer, $"the chunk size is {chunk}.",
            new("NaN with chunk sizes 40 and 50, because products over a chunk are divided into halves", "github.com/state-spaces/mamba, issue 449"),
            new($"ChunkSize = {size}", apply, Safe: true));
}
