namespace HybridArchitectures.Design;

/// <summary>
/// Parses and prints pattern strings. A pattern lists the blocks of a design in order, with a letter for each mixer and, if necessary, a mark for its
/// feed-forward.
/// <list type="bullet">
/// <item>Attention: <c>T</c> full, <c>S</c> sliding window, <c>A</c> latent, <c>D</c> differential.</item>
/// <item>State-space layers: <c>m</c> (or <c>1</c>) Mamba-1, <c>M</c> Mamba-2, <c>N</c> (or <c>3</c>) Mamba-3.</item>
/// <item>Linear attention: <c>L</c> lightning, <c>g</c> gated, <c>G</c> gated delta net, <c>K</c> Kimi delta attention.</item>
/// <item>Other recurrent layers: <c>R</c> RG-LRU, <c>h</c> HGRN2, <c>W</c> (or <c>7</c>) RWKV-7.</item>
/// <item><c>H</c> intra-layer hybrid, <c>C</c> short convolution, <c>-</c> no mixer.</item>
/// <item>Another letter is the <see cref="MixerSpec.Symbol"/> of a custom mixer.</item>
/// <item><c>+</c> after a letter: a shared transformer before the mixer (<see cref="BlockSpec.Shared"/>).</item>
/// <item>No mark: the usual feed-forward. <c>e</c>: the mixture of experts in a design that has both. <c>~</c>: no feed-forward.</item>
/// </list>
/// White space is ignored. <c>MMT</c> is two Mamba-2 blocks and an attention block, each with a feed-forward. <c>M~ M~ -</c> is two Mamba-2 layers
/// without a feed-forward, and a feed-forward layer.
/// </summary>
public static class BlockPattern
{
    internal const string Letters = "TSMmHCGKALRgNDhW";

    /// <summary>Returns whether a text can be the <see cref="MixerSpec.Symbol"/> of a custom mixer: one letter that has no other meaning.</summary>
    public static bool IsFreeSymbol(string? symbol) =>
        symbol is { Length: 1 } && char.IsLetter(symbol[0]) && !Letters.Contains(symbol[0]) && symbol[0] != 'e';

    /// <summary>Parses a pattern string.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <returns>The blocks.</returns>
    /// <exception cref="ArgumentException">A character has no meaning at its position. The message contains the position, counted from 1.</exception>
    public static EquatableList<PatternBlock> Parse(string pattern)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        var blocks = new List<PatternBlock>();
        for (int i = 0; i < pattern.Length; i++)
        {
            char c = pattern[i];
            if (char.IsWhiteSpace(c)) continue;
            if (c == '+')
            {
                if (blocks.Count == 0 || blocks[^1] is not { Mixer: not null, Shared: false, FeedForward: PatternFeedForward.Usual } last)
                    throw Unexpected(pattern, i);
                blocks[^1] = last with { Shared = true };
            }
            else if (c is 'e' or '~')
            {
                var before = blocks.Count > 0 ? blocks[^1] : null;
                if (before is null || before.FeedForward != PatternFeedForward.Usual || (c == '~' && before.Mixer is null))
                    throw Unexpected(pattern, i);
                blocks[^1] = before with { FeedForward = c == 'e' ? PatternFeedForward.Experts : PatternFeedForward.None };
            }
            else if (c is '-' or '1' or '3' or '7' || char.IsLetter(c))
                blocks.Add(new(Symbol(c), PatternFeedForward.Usual));
            else
                throw Unexpected(pattern, i);
        }
        Require.That(blocks.Count > 0, "pattern", pattern, "at least one block");
        return blocks.ToEquatableList();
    }

    /// <summary>Prints blocks as a pattern string. Mixtures of experts are marked only if another block has a different feed-forward.</summary>
    /// <param name="blocks">The blocks.</param>
    public static string Print(IEnumerable<BlockSpec> blocks)
    {
        var list = Require.EachItem(blocks).ToList();
        bool mixed = list.Any(block => block.FeedForward is MixtureOfExpertsSpec)
            && list.Any(block => block.FeedForward is not (MixtureOfExpertsSpec or NoFeedForward));
        return string.Concat(list.Select(block => Print(block, mixed)));
    }

    internal static string Print(BlockSpec block, bool markExperts) => new PatternBlock(block.Mixer?.Symbol, block.FeedForward switch
    {
        NoFeedForward => PatternFeedForward.None,
        MixtureOfExpertsSpec when markExperts => PatternFeedForward.Experts,
        _ => PatternFeedForward.Usual,
    }, block.Shared is not null).ToString();

    static string? Symbol(char letter) => letter switch
    {
        '-' => null,
        '1' => "m",
        '3' => "N",
        '7' => "W",
        _ => letter.ToString(),
    };

    static ArgumentException Unexpected(string pattern, int index) => Require.Refusal("pattern", pattern,
        $"letters for mixers, each with at most one '+' and at most one 'e' or '~', or '-'; found '{pattern[index]}' at position {index + 1}");
}
