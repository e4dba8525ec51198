
namespace HybridArchitectures.Design;

/// <summary>
/// Converts lists of attention layers, counted from 0: <c>attn_layer_idx</c> of state-spaces/mamba, <c>attn_layer_indices</c> of Bamba,
/// <c>full_attn_idxs</c> of LFM2.
/// </summary>
public static class AttentionIndices
{
    /// <summary>Returns the layers as blocks.</summary>
    /// <param name="depth">The number of layers.</param>
    /// <param name="indices">The indexes of the attention layers, counted from 0.</param>
    /// <param name="attention">The letter of these layers. The default is <c>T</c>.</param>
    /// <param name="other">The letter of all other layers.</param>
    /// <param name="bare">Whether the layers have no feed-forward.</param>
    /// <exception cref="ArgumentException">An index is outside the depth or occurs twice.</exception>
    public static EquatableList<PatternBlock> Parse(
        int depth, IEnumerable<int> indices, string attention = "T", string other = "M", bool bare = false)
    {
        ArgumentNullException.ThrowIfNull(indices);
        Require.That(depth is >= 1 and <= HybridDesign.MaxDepth, nameof(depth), depth, $"1 to {HybridDesign.MaxDepth}");
        string?[] letters = new string?[depth];
        foreach (int index in indices)
        {
            Require.That(index >= 0 && index < depth, nameof(indices), index, $"0 to {depth - 1}");
            Require.That(letters[index] is null, nameof(indices), $"{index} twice", "each layer once");
            letters[index] = attention;
        }
        return letters.Select(letter => new PatternBlock(letter ?? other, bare ? PatternFeedForward.None : PatternFeedForward.Usual))
            .ToEquatableList();
    }

    /// <summary>Returns the positions of a mixer, counted from 0.</summary>
    public static EquatableList<int> Print(IEnumerable<PatternBlock> blocks, string attention = "T")
    {
        return Require.EachItem(blocks).Select((block, index) => (block.Mixer, index)).Where(entry => entry.Mixer == attention)
            .Select(entry => entry.index).ToEquatableList();
    }
}
