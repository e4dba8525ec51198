using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules of every review, unless they are switched off.</summary>
public static class DesignRules
{
    /// <summary>Gets all rules.</summary>
    public static IReadOnlyList<DesignRule> All { get; } =
        [.. BuildRules.All, .. PlacementRules.All, .. IntraHybridRules.All, .. AttentionRules.All, .. StateSpaceRules.All, .. LinearHybridRules.All,
            .. FeedForwardRules.All];

    internal const string Paper = "arXiv 2510.04800";

    /// <summary>Specifies the page with the repetition of the experiments by models of 11 million parameters.</summary>
    internal const string Repetition = "docs/experiments.md";

    /// <summary>Returns the first fix after which a model of the design is possible, or a fix that only describes the change.</summary>
    internal static Remedy Possible(HybridDesign design, string otherwise, params ReadOnlySpan<Remedy> remedies)
    {
        foreach (var remedy in remedies)
        {
            try
            {
                remedy.Apply!(design).Check();
                return remedy;
            }
            catch (ArgumentException)
            {
                // the next
            }
        }
        return new(otherwise);
    }

    /// <summary>Returns the mixers with their layers, counted from 1.</summary>
    internal static IEnumerable<(int Layer, T Mixer)> Mixers<T>(HybridDesign design) where T : MixerSpec =>
        design.Blocks.Select((block, index) => (Layer: index + 1, block.Mixer)).Where(entry => entry.Mixer is T)
            .Select(entry => (entry.Layer, (T)entry.Mixer!));

    /// <summary>Returns all attention, including that inside intra-layer hybrids.</summary>
    internal static IEnumerable<(int Layer, AttentionSpec Attention)> Attentions(HybridDesign design) =>
        Mixers<MixerSpec>(design).Select(
            entry => (entry.Layer, Attention: entry.Mixer as AttentionSpec ?? (entry.Mixer as IntraHybridSpec)?.Attention))
            .Where(entry => entry.Attention is not null).Select(entry => (entry.Layer, entry.Attention!));

    /// <summary>Returns all state-space layers, including those inside intra-layer hybrids.</summary>
    internal static IEnumerable<(int Layer, IStateSpaceSpec StateSpace)> StateSpaces(HybridDesign design) =>
        Mixers<MixerSpec>(design).Select(
            entry => (entry.Layer, StateSpace: entry.Mixer as IStateSpaceSpec ?? (entry.Mixer as IntraHybridSpec)?.StateSpace as IStateSpaceSpec))
            .Where(entry => entry.StateSpace is not null).Select(entry => (entry.Layer, entry.StateSpace!));

    /// <summary>Returns a function that changes the mixer of one layer, if it has that kind.</summary>
    internal static Func<HybridDesign, HybridDesign> Change<T>(int layer, Func<T, MixerSpec> change) where T : MixerSpec => design =>
        design.Blocks[layer - 1] is { Mixer: T mixer } block
            ? design with { Blocks = design.Blocks.With(layer - 1, block with { Mixer = change(mixer) }) } : design;

    /// <summary>Returns a function that changes the attention of one layer, alone or inside an intra-layer hybrid.</summary>
    internal static Func<HybridDesign, HybridDesign> ChangeAttention(int layer, Func<AttentionSpec, AttentionSpec> change) =>
        Change<MixerSpec>(layer, mixer => mixer switch
    {
        AttentionSpec attention => change(attention),
        IntraHybridSpec intra => intra with { Attention = change(intra.Attention) },
        _ => mixer,
    });

    /// <summary>Returns a function that changes the Mamba-2 of one layer, alone or inside an intra-layer hybrid.</summary>
    internal static Func<HybridDesign, HybridDesign> ChangeMamba2(int layer, Func<Mamba2Spec, Mamba2Spec> change) =>
        Change<MixerSpec>(layer, mixer => mixer switch
    {
        Mamba2Spec mamba => change(mamba),
        IntraHybridSpec { StateSpace: Mamba2Spec mamba } intra => intra with { StateSpace = change(mamba) },
        _ => mixer,
    });
}
