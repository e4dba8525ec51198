using HybridArchitectures.Design;

namespace HybridArchitectures.Conversion;

/// <summary>Replaces mixers of a design.</summary>
/// <example>
/// <code>
/// HybridDesign transformer = HybridDesign.Create(width: 64, vocabularySize: 256).WithAttention(heads: 4)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(96)).Depth(4).Build();
/// HybridDesign hybrid = transformer.Convert(layers: [1, 2, 4], ConvertedMixers.Mamba2);
/// Console.WriteLine(hybrid.Pattern);                                  // MMTM
/// </code>
/// </example>
public static class DesignConversion
{
    /// <summary>
    /// Returns the design with the attention of some layers replaced. Everything else is the same, except that the first layer of RWKV-7 has no
    /// <see cref="Rwkv7Spec.ValueRank"/>.
    /// </summary>
    /// <param name="design">The design.</param>
    /// <param name="layers">The numbers of the layers, from 1.</param>
    /// <param name="mixer">
    /// Returns the mixer for an attention, for example a method of <see cref="ConvertedMixers"/>. Sizes that are 0 are derived from the width.
    /// </param>
    /// <exception cref="ArgumentException">A layer does not exist, occurs twice or has no attention, or a mixer is invalid.</exception>
    public static HybridDesign Convert(this HybridDesign design, IEnumerable<int> layers, Func<AttentionSpec, MixerSpec> mixer)
    {
        ArgumentNullException.ThrowIfNull(mixer);
        return Replace(design, layers, (layer, before) =>
        {
            if (before is not AttentionSpec attention)
                throw Require.Unfit(nameof(layers), $"layer {layer} has {Describe(before)}", "attention");
            return mixer(attention) ?? throw Require.Refusal(nameof(mixer), null, $"a mixer for layer {layer}");
        });
    }

    /// <summary>
    /// Returns the design with the mixers of some layers replaced by one mixer. Everything else is the same, except that the first layer of RWKV-7
    /// has no <see cref="Rwkv7Spec.ValueRank"/>.
    /// </summary>
    /// <param name="design">The design.</param>
    /// <param name="layers">The numbers of the layers, from 1.</param>
    /// <param name="mixer">The mixer. Sizes that are 0 are derived from the width.</param>
    /// <exception cref="ArgumentException">A layer does not exist, occurs twice or has no mixer, or the mixer is invalid.</exception>
    public static HybridDesign Convert(this HybridDesign design, IEnumerable<int> layers, MixerSpec mixer)
    {
        ArgumentNullException.ThrowIfNull(mixer);
        return Replace(design, layers, (layer, before) =>
        {
            if (before is null) throw Require.Unfit(nameof(layers), $"layer {layer} has no mixer", "a mixer to replace");
            return mixer;
        });
    }

    static HybridDesign Replace(HybridDesign design, IEnumerable<int> layers, Func<int, MixerSpec?, MixerSpec> replace)
    {
        ArgumentNullException.ThrowIfNull(design);
        ArgumentNullException.ThrowIfNull(layers);
        var blocks = design.Blocks.ToArray();
        var seen = new HashSet<int>();
        foreach (int layer in layers)
        {
            Require.InRange(layer >= 1 && layer <= blocks.Length, nameof(layers), layer, $"layers from 1 to {blocks.Length}");
            Require.InRange(seen.Add(layer), nameof(layers), layer, "each layer once");
            var block = blocks[layer - 1];
            blocks[layer - 1] = block with { Mixer = replace(layer, block.Mixer) };
        }
        return (design with { Blocks = FirstValues.WithoutRankInFirst([.. blocks]) }).Resolve();
    }

    static string Describe(MixerSpec? mixer) => mixer is null ? "no mixer" : mixer.Describe().Summary;
}
