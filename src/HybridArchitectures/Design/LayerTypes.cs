namespace HybridArchitectures.Design;

/// <summary>
/// Converts <c>layer_types</c> of Hugging Face (earlier <c>layers_block_type</c>), which has one word per layer. If the words include <c>mlp</c> or
/// <c>moe</c>, each word is one residual layer, and mixers have no feed-forward. Otherwise, each layer has the feed-forward of the model.
/// </summary>
public static class LayerTypes
{
    /// <summary>
    /// Parses words: <c>full_attention</c>, <c>attention</c>, <c>sliding_attention</c>, <c>linear_attention</c>, <c>mamba</c>, <c>recurrent</c>,
    /// <c>hybrid</c>, <c>conv</c>, <c>mlp</c>, <c>moe</c>.
    /// </summary>
    /// <param name="words">One word per layer.</param>
    /// <param name="linear">
    /// The letter of linear attention, Mamba and recurrent layers, whose kind the word does not specify. The default is <c>M</c>.
    /// </param>
    /// <param name="convolution">The letter of convolution layers. The default is <c>C</c>.</param>
    /// <exception cref="ArgumentException">A word is unknown. The message contains its position, counted from 0.</exception>
    public static EquatableList<PatternBlock> Parse(IEnumerable<string> words, string linear = "M", string convolution = "C")
    {
        string[] list = [.. Require.EachItem(words)];
        Require.That(list.Length > 0, nameof(words), "empty", "at least one layer");
        var feedForward = list.Any(word => word is "mlp" or "moe") ? PatternFeedForward.None : PatternFeedForward.Usual;
        return list.Select((word, index) => word switch
        {
            "full_attention" or "attention" => new PatternBlock("T", feedForward),
            "sliding_attention" => new PatternBlock("S", feedForward),
            "linear_attention" or "mamba" or "recurrent" => new PatternBlock(linear, feedForward),
            "hybrid" => new PatternBlock("H", feedForward),
            "conv" => new PatternBlock(convolution, feedForward),
            "mlp" => new PatternBlock(null, PatternFeedForward.Usual),
            "moe" => new PatternBlock(null, PatternFeedForward.Experts),
            _ => throw Require.Refusal(
                nameof(words), word,
                $"full_attention, sliding_attention, linear_attention, mamba, recurrent, hybrid, conv, mlp or moe at position {index}"),
        }).ToEquatableList();
    }

    /// <summary>Prints blocks as words, with the current names.</summary>
    /// <param name="blocks">The blocks: either all with the usual feed-forward, or mixers and feed-forwards in separate blocks.</param>
    /// <param name="convolution">The letter of convolution layers. The default is <c>C</c>.</param>
    /// <exception cref="ArgumentException">
    /// Words cannot express the blocks: some have experts, or blocks with and without a feed-forward are mixed.
    /// </exception>
    public static EquatableList<string> Print(IEnumerable<PatternBlock> blocks, string convolution = "C")
    {
        var list = PatternBlock.Unshared(blocks, "a list of words");
        bool single = list.Any(block => block.Mixer is null);
        var expected = single ? PatternFeedForward.None : PatternFeedForward.Usual;
        return list.Select((block, index) =>
        {
            Require.That(block.Mixer is null || block.FeedForward == expected, nameof(blocks), block.ToString(),
                $"in block {index + 1} " + (single ? "no feed-forward, because others are one"
                    : "the usual feed-forward, because words express neither experts nor their absence"));
            return block.Mixer switch
            {
                null => block.FeedForward == PatternFeedForward.Experts ? "moe" : "mlp",
                "T" => "full_attention",
                "S" => "sliding_attention",
                "H" => "hybrid",
                var mixer when mixer == convolution => "conv",
                _ => "linear_attention",
            };
        }).ToEquatableList();
    }
}
