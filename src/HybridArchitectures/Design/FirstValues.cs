namespace HybridArchitectures.Design;

/// <summary>
/// Finds the layers of RWKV-7 that mix the values of the first one into their own (<see cref="Rwkv7Spec.ValueRank"/>), and the layer whose values
/// they read.
/// </summary>
static class FirstValues
{
    /// <summary>Returns the index of the block whose values later blocks read, from 0; -1 if no block reads any.</summary>
    public static int Source(IReadOnlyList<BlockSpec> blocks) =>
        blocks.Any(block => block?.Mixer is Rwkv7Spec { ValueRank: not null }) ? First(blocks) : -1;

    static int First(IReadOnlyList<BlockSpec> blocks)
    {
        for (int i = 0; i < blocks.Count; i++)
            if (blocks[i]?.Mixer is Rwkv7Spec) return i;
        return -1;
    }

    /// <summary>Returns the blocks without a rank in the first layer of RWKV-7, which has no earlier values.</summary>
    public static EquatableList<BlockSpec> WithoutRankInFirst(EquatableList<BlockSpec> blocks) =>
        First(blocks) is >= 0 and var first && blocks[first].Mixer is Rwkv7Spec { ValueRank: not null } mixer
            ? blocks.With(first, blocks[first] with { Mixer = mixer with { ValueRank = null } }) : blocks;

    /// <summary>
    /// Returns the blocks in which the first layer has the rank of a layer that reads its values, so that copies of it, which are not first, read
    /// them too.
    /// </summary>
    public static EquatableList<BlockSpec> WithRankInFirst(EquatableList<BlockSpec> blocks)
    {
        if (Source(blocks) is not (>= 0 and var first)) return blocks;
        var reader = blocks.Select(block => block?.Mixer).OfType<Rwkv7Spec>().First(mixer => mixer.ValueRank is not null);
        return blocks.With(first, blocks[first] with { Mixer = (Rwkv7Spec)blocks[first].Mixer! with { ValueRank = reader.ValueRank } });
    }

    /// <summary>Checks that the layers that read values have an earlier one whose values have the same size.</summary>
    public static void Check(IReadOnlyList<BlockSpec> blocks)
    {
        int source = Source(blocks);
        if (source < 0) return;
        var first = (Rwkv7Spec)blocks[source].Mixer!;
        Require.Within($"block {source + 1}: mixer W", () =>
            Require.That(first.ValueRank is null, "valueRank", first.ValueRank, "null in the first layer of RWKV-7, which has no earlier values"));
        for (int i = source + 1; i < blocks.Count; i++)
        {
            if (blocks[i].Mixer is not Rwkv7Spec { ValueRank: not null } reader) continue;
            Require.Within($"block {i + 1}: mixer W", () => Require.That(reader.InnerWidth == first.InnerWidth, "heads x headSize",
                reader.InnerWidth, $"{first.InnerWidth}, the size of the values of block {source + 1}"));
        }
    }
}
