namespace HybridArchitectures.Design;

/// <summary>
/// Arranges the kinds of blocks of a builder, by its pattern or by its ratio and placement. The order decides which of two kinds is the first one of
/// a ratio: intra-layer hybrid, attention, sliding window, custom mixers, Mamba-1, Mamba-2.
/// </summary>
sealed class BlockArrangement(BuilderState state)
{
    // '?' is the place of custom mixers
    const string RatioOrder = "HTS?mM";

    /// <summary>Returns the blocks in order. Their sizes are not derived yet.</summary>
    /// <exception cref="ArgumentException">The settings of the builder contradict each other, or are not sufficient.</exception>
    public EquatableList<BlockSpec> Blocks()
    {
        var pattern = state.Pattern is { } given ? CheckedPattern(given)
            : [.. FromRatio().Select(symbol => new PatternBlock(symbol, PatternFeedForward.Usual))];
        return WithUses(pattern.Select(Block), pattern);
    }

    EquatableList<PatternBlock> CheckedPattern(EquatableList<PatternBlock> pattern)
    {
        Require.That(state.Ratio is null && state.Placement is null && state.Positions is null, "pattern",
            string.Concat(pattern), "no ratio or placement with it");
        Require.That(state.Depth is null || state.Depth == pattern.Count, "depth", state.Depth,
            $"{pattern.Count}, the number of blocks in the pattern");
        return pattern;
    }

    EquatableList<BlockSpec> WithUses(IEnumerable<BlockSpec> blocks, EquatableList<PatternBlock> pattern)
    {
        int uses = 0;
        Require.That(
            state.Shared.Count == 0 || pattern.Any(block => block.Shared), "pattern", string.Concat(pattern),
            "a block marked '+', because there are shared transformers");
        return blocks.Zip(pattern, (block, asked) =>
        {
            if (!asked.Shared) return block;
            Require.That(state.Shared.Count > 0, "pattern", asked.ToString(), "no '+' without shared transformers; see WithSharedTransformers");
            return block with { Shared = state.SharedUse with { Transformer = uses++ % state.Shared.Count } };
        }).ToEquatableList();
    }

    BlockSpec Block(PatternBlock block) => new()
    {
        Mixer = block.Mixer is { } symbol ? Mixer(symbol) : null,
        NormEpsilon = state.NormEpsilon,
        FeedForward = block.FeedForward switch
        {
            PatternFeedForward.None => FeedForwardSpec.None,
            PatternFeedForward.Experts => state.Experts ?? state.FeedForward as MixtureOfExpertsSpec
                ?? throw Require.Refusal("pattern", block.ToString(), "a mixture of experts; see WithExperts"),
            _ => state.FeedForward,
        },
    };

    MixerSpec Mixer(string symbol)
    {
        var mixer = state.Mixers.FirstOrDefault(known => known.Symbol == symbol)
            ?? throw Require.Refusal("kind", symbol, $"one that is described: {Described()}; see {Call(symbol)}");
        if (mixer is not AttentionSpec { Window: not null, Heads: 0 } windowed) return mixer;
        var full = state.Mixers.OfType<AttentionSpec>().FirstOrDefault(known => known.Window is null)
            ?? throw Require.Refusal("heads", 0, "at least 1 for the sliding window, or WithAttention to take them from");
        return full with { Window = windowed.Window, Sinks = windowed.Sinks, Rotary = windowed.Rotary };
    }

    // returns one symbol per block
    string[] FromRatio()
    {
        Require.That(state.Mixers.Count > 0, "mixer", null, "at least one kind of block, such as WithAttention or WithMamba2");
        int depth = state.Depth ?? throw Require.Refusal("depth", null, "Depth, or a pattern");
        var (first, second, ratio) = Kinds();
        int count = ratio is null ? state.Positions?.Count ?? 0 : PlacementRule.Count(depth, ratio.FirstShare, ratio.SecondShare);
        if (ratio is { FirstShare: > 0, SecondShare: > 0 })
        {
            Require.That(count > 0, "ratio", ratio.ToString(),
                $"a ratio with at least one block of \"{first}\" in a depth of {depth}, not "
                + $"{depth}x{ratio.FirstShare}/{ratio.FirstShare + ratio.SecondShare}");
            Require.That(count < depth, "ratio", ratio.ToString(), $"a ratio that leaves at least one block of \"{second}\" in a depth of {depth}");
        }
        int[] positions = state.Positions?.ToArray() ?? PlacementRule.Positions(state.Placement ?? Placement.Middle, depth, count);
        if (state.Positions is not null)
        {
            Require.That(positions[^1] <= depth, "positions", positions[^1], $"1 to depth = {depth}");
            Require.That(positions.Length == count, "positions", $"[{string.Join(", ", positions)}]",
                $"{count} positions, the number of blocks for ratio {ratio} and depth {depth}");
        }
        string[] symbols = new string[depth];
        Array.Fill(symbols, second);
        foreach (int position in positions) symbols[position - 1] = first!;
        return symbols;
    }

    (string? First, string? Second, BuilderRatio? Ratio) Kinds()
    {
        if (state.Ratio is { First: { } one, Second: { } other } named)
        {
            if (named.FirstShare > 0) Mixer(one);
            if (named.SecondShare > 0) Mixer(other);
            return (one, other, named);
        }
        var kinds = state.Mixers.Select(mixer => mixer.Symbol).OrderBy(Rank).ToList();
        if (kinds.Count > 2) return AmongMany(kinds);
        if (kinds.Count == 2)
        {
            Require.That(state.Ratio is not null || state.Positions is not null, "ratio", null,
                $"Ratio, Place with positions or Pattern, because there are two kinds: {Described()}");
            Require.That(
                !IsStateSpace(kinds[0]), "kinds", Described(), "a kind of attention among the two; or name them, as in Ratio(\"m\", 1, \"M\", 3)");
            return (kinds[0], kinds[1], state.Ratio);
        }
        string only = kinds[0];
        Require.That(state.Positions is null, "positions", state.Positions, $"none, because \"{only}\" is the only kind");
        if (state.Ratio is { } ratio)
        {
            Require.That(ratio.FirstShare == 0 || !IsStateSpace(only), "attention", ratio.FirstShare,
                "0 without a kind of attention; see WithAttention");
            Require.That(ratio.SecondShare == 0 || only is not ("T" or "H"), "ssm", ratio.SecondShare,
                "0 without a state-space kind; see WithMamba2");
            Require.That(ratio.FirstShare == 0 || ratio.SecondShare == 0, "ratio", ratio.ToString(),
                $"1:0 or 0:1, because \"{only}\" is the only kind");
        }
        return (only, only, state.Ratio);
    }

    // finds the two kinds of the ratio among more than two kinds
    (string? First, string? Second, BuilderRatio? Ratio) AmongMany(IReadOnlyList<string> kinds)
    {
        ArgumentException Unclear(string what) =>
            Require.Refusal("kinds", Described(), $"{what}; name two for the ratio, as in Ratio(\"T\", 1, \"M\", 5), or set a pattern");
        if (state.Ratio is not { } ratio) throw Unclear("two without a ratio");
        string[] attention = [.. kinds.Where(IsAttention)], others = [.. kinds.Where(symbol => !IsAttention(symbol))];
        string[] spaces = others.Any(IsStateSpace) ? [.. others.Where(IsStateSpace)] : others;
        string? first = attention.Contains("T") ? "T" : attention.Length == 1 ? attention[0] : null;
        string? second = spaces.Length == 1 ? spaces[0] : null;
        if (first is null && ratio.FirstShare > 0)
            throw Unclear(attention.Length == 0 ? "a kind of attention among them" : $"one kind of attention, not {string.Join(" and ", attention)}");
        if (second is null && ratio.SecondShare > 0)
            throw Unclear(spaces.Length == 0 ? "a state-space kind among them" : $"one state-space kind, not {string.Join(" and ", spaces)}");
        return (first ?? second, second ?? first, ratio);
    }

    static bool IsAttention(string symbol) => symbol is "T" or "S" or "H";

    static int Rank(string symbol) =>
        RatioOrder.IndexOf(symbol, StringComparison.Ordinal) is >= 0 and int known ? known : RatioOrder.IndexOf('?', StringComparison.Ordinal);

    static bool IsStateSpace(string symbol) => symbol is "m" or "M";

    string Described() => state.Mixers.Count == 0 ? "none" : string.Join(", ", state.Mixers.Select(mixer => mixer.Symbol));

    static string Call(string symbol) => symbol switch
    {
        "T" => "WithAttention",
        "S" => "WithSlidingWindow",
        "M" => "WithMamba2",
        "m" => "WithMamba1",
        "H" => "WithIntraHybrid",
        _ => "WithMixer",
    };
}
