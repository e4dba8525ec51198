using HybridArchitectures.Design;

namespace HybridArchitectures.Conversion;

/// <summary>
/// Describes mixers that keep as many weights of an attention layer as possible: as many heads of the same sizes. Without softmax, attention is
/// linear attention, in which queries, keys and values are C, B and x of Mamba-2 (arXiv 2405.21060, 2408.15237).
/// </summary>
/// <remarks>
/// Keys and values that several query heads share are repeated for each of them. The multipliers of the attention's input and output are kept where
/// the mixer has them. The methods can be passed to
/// <see cref="DesignConversion.Convert(HybridDesign, IEnumerable{int}, Func{AttentionSpec, MixerSpec})"/>.
/// </remarks>
public static class ConvertedMixers
{
    /// <summary>
    /// Describes a Mamba-2 layer: one head and one group per query head, state size = head size of the keys, head size = that of the values.
    /// </summary>
    public static Mamba2Spec Mamba2(AttentionSpec attention)
    {
        Check(attention);
        return new()
        {
            Heads = attention.Heads, HeadSize = attention.ValueHeadSize, StateSize = attention.HeadSize, Groups = attention.Heads,
            InputScale = attention.InputScale, OutputScale = attention.OutputScale,
        };
    }

    /// <summary>Describes a gated delta net: one key head and one value head per query head.</summary>
    public static GatedDeltaSpec GatedDelta(AttentionSpec attention)
    {
        Check(attention);
        return new() { KeyHeads = attention.Heads, KeyHeadSize = attention.HeadSize, ValueHeadSize = attention.ValueHeadSize };
    }

    /// <summary>Describes Kimi delta attention with as many heads as queries.</summary>
    public static KimiDeltaSpec KimiDelta(AttentionSpec attention)
    {
        Check(attention);
        return new() { Heads = attention.Heads, HeadSize = attention.HeadSize, ValueHeadSize = attention.ValueHeadSize };
    }

    /// <summary>Describes lightning attention with as many heads as queries. Its heads have one size.</summary>
    /// <exception cref="ArgumentException">The value heads have another size than the query heads.</exception>
    public static LightningAttentionSpec LightningAttention(AttentionSpec attention)
    {
        CheckOneSize(attention);
        return new() { Heads = attention.Heads, HeadSize = attention.HeadSize };
    }

    /// <summary>
    /// Describes RWKV-7 with as many heads as queries. Its heads have one size. It keeps queries, keys, values and the output.
    /// </summary>
    /// <exception cref="ArgumentException">The value heads have another size than the query heads.</exception>
    public static Rwkv7Spec Rwkv7(AttentionSpec attention)
    {
        CheckOneSize(attention);
        return new() { Heads = attention.Heads, HeadSize = attention.HeadSize };
    }

    static void CheckOneSize(AttentionSpec attention)
    {
        Check(attention);
        Require.That(attention.ValueHeadSize == attention.HeadSize, $"{nameof(attention)}.valueHeadSize", attention.ValueHeadSize,
            $"{attention.HeadSize}, the size of a query head");
    }

    static void Check(AttentionSpec attention)
    {
        ArgumentNullException.ThrowIfNull(attention);
        Require.AtLeast(attention.Heads, 1, $"{nameof(attention)}.heads");
        Require.AtLeast(attention.HeadSize, 1, $"{nameof(attention)}.headSize");
        Require.AtLeast(attention.ValueHeadSize, 1, $"{nameof(attention)}.valueHeadSize");
    }
}
