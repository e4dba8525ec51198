namespace HybridArchitectures.Design;

/// <summary>Jamba's periods and offsets: the 0-based layer i is attention if i mod period is the offset, and its feed-forward a mixture of experts by the same rule with their own two.</summary>
/// <param name="Depth">Layers.</param>
/// <param name="Period">Every how many layers attention comes.</param>
/// <param name="Offset">The first of them, from 0.</param>
/// <param name="ExpertPeriod">Every how many layers experts come; 0: none are marked.</param>
/// <param name="ExpertOffset">The first of them, from 0.</param>
/// <param name="Attention">Letter of the attention layers.</param>
/// <param name="Other">Letter of the others.</param>
public sealed record PeriodPattern(int Depth, int Period, int Offset, int ExpertPeriod = 0, int ExpertOffset = 0, string Attention = "T", string Other = "m")
{
    /// <summary>The layers as blocks.</summary>
    /// <exception cref="ArgumentException">A number is out of range; names it.</exception>
    public EquatableList<PatternBlock> Blocks()
    {
        Require.That(Depth is >= 1 and <= HybridDesign.MaxDepth, "depth", Depth, $"1 to {HybridDesign.MaxDepth}");
        Require.AtLeast(Period, 1, "period");
        Require.That(Offset >= 0 && Offset < Period, "offset", Offset, $"0 to {Period - 1}, less than the period");
        Require.AtLeast(ExpertPeriod, 0, "expertPeriod");
        Require.That(ExpertOffset >= 0 && ExpertOffset < Math.Max(1, ExpertPeriod), "expertOffset", ExpertOffset, "less than the experts' period");
        return Enumerable.Range(0, Depth).Select(i => new PatternBlock(i % Period == Offset ? Attention : Other,
            ExpertPeriod > 0 && i % ExpertPeriod == ExpertOffset ? PatternFeedForward.Experts : PatternFeedForward.Usual)).ToEquatableList();
    }

    /// <summary>The periods of blocks that have them; null if there are none. Of one attention layer alone the period is the depth.</summary>
    /// <param name="blocks">The blocks.</param>
    /// <param name="attention">Letter of the attention layers.</param>
    public static PeriodPattern? From(IEnumerable<PatternBlock> blocks, string attention = "T")
    {
        ArgumentNullException.ThrowIfNull(blocks);
        var list = blocks.ToEquatableList();
        var others = list.Select(block => block.Mixer).Where(mixer => mixer != attention).Distinct().ToList();
        if (others.Count > 1 || others.Contains(null) || Rule(list, block => block.Mixer == attention) is not { } rule) return null;
        var experts = Rule(list, block => block.FeedForward == PatternFeedForward.Experts) ?? (0, 0);
        var pattern = new PeriodPattern(list.Count, rule.Period, rule.Offset, experts.Period, experts.Offset, attention, others.FirstOrDefault() ?? "m");
        return pattern.Blocks().Equals(list) ? pattern : null;
    }

    static (int Period, int Offset)? Rule(EquatableList<PatternBlock> blocks, Func<PatternBlock, bool> chosen)
    {
        int[] places = [.. Enumerable.Range(0, blocks.Count).Where(i => chosen(blocks[i]))];
        return places.Length == 0 ? null : (places.Length == 1 ? blocks.Count : places[1] - places[0], places[0]) is var rule && rule.Item2 < rule.Item1 ? rule : null;
    }
}
