namespace HybridArchitectures.Design;

/// <summary>
/// Hugging Face's <c>layer_types</c> (earlier <c>layers_block_type</c>): a word per layer. Where <c>mlp</c> or <c>moe</c> stand among them, each word is one residual layer and mixers are bare;
/// otherwise each layer has the model's feed-forward.
/// </summary>
public static class LayerTypes
{
    /// <summary>Reads words: <c>full_attention</c>, <c>attention</c>, <c>sliding_attention</c>, <c>linear_attention</c>, <c>mamba</c>, <c>recurrent</c>, <c>hybrid</c>, <c>conv</c>,
    /// <c>mlp</c>, <c>moe</c>.</summary>
    /// <param name="words">A word per layer.</param>
    /// <param name="linear">Letter of linear attention, Mamba and recurrent layers: which kind it is, the word does not say.</param>
    /// <param name="convolution">Letter of convolution layers.</param>
    /// <exception cref="ArgumentException">A word means nothing here; its 0-based place is named.</exception>
    public static EquatableList<PatternBlock> Parse(IEnumerable<string> words, string linear = "M", string convolution = "C")
    {
        ArgumentNullException.ThrowIfNull(words);
        string[] list = [.. words];
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
            _ => throw Require.Refusal(nameof(words), word, $"full_attention, sliding_attention, linear_attention, mamba, recurrent, hybrid, conv, mlp or moe at place {index}"),
        }).ToEquatableList();
    }

    /// <summary>Writes blocks in the words of today.</summary>
    /// <param name="blocks">The blocks: either all with the usual feed-forward, or mixers and feed-forwards each alone.</param>
    /// <param name="convolution">Letter of convolution layers.</param>
    /// <exception cref="ArgumentException">Words cannot say it: which layers have experts, or blocks with and without feed-forward side by side.</exception>
    public static EquatableList<string> Print(IEnumerable<PatternBlock> blocks, string convolution = "C")
    {
        var list = PatternBlock.Unshared(blocks, "a list of words");
        bool single = list.Any(block => block.Mixer is null);
        var expected = single ? PatternFeedForward.None : PatternFeedForward.Usual;
        return list.Select((block, index) =>
        {
            Require.That(block.Mixer is null || block.FeedForward == expected, nameof(blocks), block.ToString(),
                $"in block {index + 1} {(single ? "no feed-forward, since others are one" : "the usual feed-forward, since words do not tell experts or their absence")}");
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
