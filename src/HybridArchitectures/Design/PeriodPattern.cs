
namespace HybridArchitectures.Design;

/// <summary>
/// Represents periods and offsets as in Jamba. The layer i, counted from 0, is attention if i mod period equals the offset. The layers with experts
/// follow the same rule with a separate period and offset.
/// </summary>
/// <param name="Depth">The number of layers.</param>
/// <param name="Period">The period of attention layers.</param>
/// <param name="Offset">The index of the first attention layer, counted from 0.</param>
/// <param name="ExpertPeriod">The period of layers with experts. The default, 0, means that none are marked.</param>
/// <param name="ExpertOffset">The index of the first layer with experts, counted from 0. The default is 0.</param>
/// <param name="Attention">The letter of the attention layers.</param>
/// <param name="Other">The letter of the other layers.</param>
public sealed record PeriodPattern(
    int Depth, int Period, int Offset, int ExpertPeriod = 0, int ExpertOffset = 0, string Attention = "T", string Other = "m")
{
    /// <summary>Returns the layers as blocks.</summary>
    /// <exception cref="ArgumentException">A number is out of range. The message contains its name.</exception>
    public EquatableList<PatternBlock> Blocks()
    {
        Require.That(Depth is >= 1 and <= HybridDesign.MaxDepth, "depth", Depth, $"1 to {HybridDesign.MaxDepth}");
        Require.AtLeast(Period, 1, "period");
        Require.That(Offset >= 0 && Offset < Period, "offset", Offset, $"0 to {Period - 1}, less than the period");
        Require.AtLeast(ExpertPeriod, 0, "expertPeriod");
        Require.That(
            ExpertOffset >= 0 && ExpertOffset < Math.Max(1, ExpertPeriod), "expertOffset", ExpertOffset, "less than the period of the experts");
        return Enumerable.Range(0, Depth).Select(i => new PatternBlock(i % Period == Offset ? Attention : Other,
            ExpertPeriod > 0 && i % ExpertPeriod == ExpertOffset ? PatternFeedForward.Experts : PatternFeedForward.Usual)).ToEquatableList();
    }

    /// <summary>Returns the periods of blocks, or null if they are not periodic. For a single attention layer, the period is the depth.</summary>
    /// <param name="blocks">The blocks.</param>
    /// <param name="attention">The letter of the attention layers. The default is <c>T</c>.</param>
    public static PeriodPattern? From(IEnumerable<PatternBlock> blocks, string attention = "T")
    {
        var list = Require.EachItem(blocks).ToEquatableList();
        var others = list.Select(block => block.Mixer).Where(mixer => mixer != attention).Distinct().ToList();
        if (others.Count > 1 || others.Contains(null) || Rule(list, block => block.Mixer == attention) is not { } rule) return null;
        var experts = Rule(list, block => block.FeedForward == PatternFeedForward.Experts) ?? (0, 0);
        var pattern = new PeriodPattern(
            list.Count, rule.Period, rule.Offset, experts.Period, experts.Offset, attention, others.FirstOrDefault() ?? "m");
        return pattern.Blocks().Equals(list) ? pattern : null;
    }

    static (int Period, int Offset)? Rule(EquatableList<PatternBlock> blocks, Func<PatternBlock, bool> chosen)
    {
        int[] positions = [.. Enumerable.Range(0, blocks.Count).Where(i => chosen(blocks[i]))];
        return positions.Length == 0 ? null : (positions.Length == 1 ? blocks.Count : positions[1] - positions[0], positions[0]) is var rule
            && rule.Item2 < rule.Item1 ? rule : null;
    }
}
