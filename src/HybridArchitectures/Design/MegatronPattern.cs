namespace HybridArchitectures.Design;

/// <summary>
/// Converts hybrid layer patterns of Megatron, and <c>hybrid_override_pattern</c> of Nemotron-H. Each sign is one residual layer: <c>M</c> Mamba-2,
/// <c>*</c> attention, <c>-</c> feed-forward, <c>E</c> mixture of experts, <c>G</c> gated delta net. <c>D</c> (sparse attention) is a custom mixer
/// with this letter.
/// </summary>
public static class MegatronPattern
{
    /// <summary>Parses a pattern.</summary>
    /// <param name="pattern">The signs.</param>
    /// <param name="fold">
    /// Whether a mixer and the feed-forward after it become one block, which is the same model: <c>M-*-</c> becomes <c>MT</c> and not <c>M~ - T~
    /// -</c>. The default is false.
    /// </param>
    /// <exception cref="ArgumentException">
    /// A sign is unknown, or a design cannot express it. The message contains its position, counted from 1.
    /// </exception>
    public static EquatableList<PatternBlock> Parse(string pattern, bool fold = false)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        Require.That(pattern.Length > 0, nameof(pattern), pattern, "at least one layer");
        var blocks = new List<PatternBlock>(pattern.Length);
        for (int i = 0; i < pattern.Length; i++)
        {
            var block = pattern[i] switch
            {
                '*' => new PatternBlock("T", PatternFeedForward.None),
                'M' or 'G' or 'D' => new PatternBlock(pattern[i..(i + 1)], PatternFeedForward.None),
                '-' => new PatternBlock(null, PatternFeedForward.Usual),
                'E' => new PatternBlock(null, PatternFeedForward.Experts),
                '|' => throw Refused(pattern, i, "a boundary between pipeline stages, which is not part of a design; remove it"),
                '/' => throw Refused(pattern, i, "the start of layers for multi-token prediction, which are not supported; end the pattern there"),
                '+' => throw Refused(pattern, i, "multi-head latent attention, which is not built in; write a custom mixer"),
                _ => throw Refused(pattern, i, "unknown"),
            };
            if (fold && block.Mixer is null && blocks.Count > 0 && blocks[^1] is { Mixer: not null, FeedForward: PatternFeedForward.None } before)
                blocks[^1] = before with { FeedForward = block.FeedForward };
            else
                blocks.Add(block);
        }
        return blocks.ToEquatableList();
    }

    /// <summary>Prints blocks as a pattern. A block with a mixer and a feed-forward becomes two layers.</summary>
    /// <exception cref="ArgumentException">A mixer has no sign.</exception>
    public static string Print(IEnumerable<PatternBlock> blocks)
    {
        return string.Concat(PatternBlock.Unshared(blocks, "Megatron").Select((block, index) => block.Mixer switch
        {
            null => "",
            "T" => "*",
            "M" or "G" or "D" => block.Mixer,
            _ => throw Require.Refusal(
                nameof(blocks), block.ToString(), $"T, M, G, D or - in block {index + 1}, because Megatron has no sign for other mixers"),
        } + block.FeedForward switch { PatternFeedForward.Usual => "-", PatternFeedForward.Experts => "E", _ => "" }));
    }

    static ArgumentException Refused(string pattern, int index, string why) =>
        Require.Refusal(nameof(pattern), pattern, $"M, *, -, E, G and D; '{pattern[index]}' at position {index + 1} is {why}");
}
