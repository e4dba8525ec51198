using HybridArchitectures.Design;
using static HybridArchitectures.Review.DesignRules;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules about the placement of attention and intra-layer hybrids among state-space blocks.</summary>
static class PlacementRules
{
    const string Tables = Paper + ", position tables 11, 17 and 21; 11M: " + Repetition;

    public static IReadOnlyList<DesignRule> All { get; } =
    [
        new("attention-first", "Attention, or an intra-layer hybrid, as the first mixer of a stack with state-space blocks.", First),
        new("attention-early", "The only attention block in the first quarter of the stack.", Early),
        new("attention-late", "The only attention block as the last mixer.", Late),
        new("intra-sandwich", "Intra-layer hybrids at both ends and state-space blocks between them.", Sandwich),
        new("intra-clustered", "All intra-layer hybrids in consecutive blocks.", Clustered),
    ];

    static IEnumerable<Finding> First(HybridDesign design, ReviewOptions options)
    {
        var (mixers, attention) = Kinds(design);
        if (mixers.Count == 0 || attention.Length == 0 || attention.Length == mixers.Count || attention[0] != 0) yield break;
        bool only = attention.Length == 1, intra = mixers[0].Mixer is IntraHybridSpec;
        yield return new("attention-first", only && !intra ? Severity.Error : Severity.Warning, mixers[0].Layer,
            $"the stack begins with {(only ? "its only " : intra ? "an " : "")}{(intra ? "intra-layer hybrid" : "attention")}.",
            new(intra ? "+0.018 NLL at 1:5 and +0.012 at 1:3 with blocks at both ends, at 1B; +0.087 and +0.026 at 11M"
                : only ? "+0.030 NLL at 1B, +0.037 at 350M and +0.445 at 11M compared with the middle, worse than both pure models"
                : "+0.008 to +0.020 NLL compared with the middle, at 350M and 1B; +0.097 to +0.109 at 11M", Tables), Even(design));
    }

    static IEnumerable<Finding> Early(HybridDesign design, ReviewOptions options)
    {
        var (mixers, attention) = Kinds(design);
        if (attention.Length != 1 || mixers[attention[0]].Mixer is not AttentionSpec || attention[0] == 0 || (attention[0] + 1) * 4 > mixers.Count)
            yield break;
        yield return new("attention-early", Severity.Warning, mixers[attention[0]].Layer,
            "the only attention block is in the first quarter of the stack.",
            new("+0.014 NLL at layer 2 and +0.008 at layer 3 of 13 at 1B; +0.018 and +0.013 at 350M; "
                + "+0.101 at layer 2 of 12 at 11M", Tables), Even(design));
    }

    static IEnumerable<Finding> Late(HybridDesign design, ReviewOptions options)
    {
        var (mixers, attention) = Kinds(design);
        if (attention.Length != 1 || mixers.Count < 3 || mixers[attention[0]].Mixer is not AttentionSpec || attention[0] != mixers.Count - 1)
            yield break;
        yield return new("attention-late", Severity.Info, mixers[^1].Layer, "the only attention block is the last mixer.",
            new("+0.006 NLL at 1B, +0.005 at 350M, +0.031 at 11M", Tables), Even(design));
    }

    static IEnumerable<Finding> Sandwich(HybridDesign design, ReviewOptions options)
    {
        var (mixers, attention) = Kinds(design);
        if (attention.Length < 2 || attention.Length == mixers.Count || attention.Any(index => mixers[index].Mixer is not IntraHybridSpec))
            yield break;
        if (attention[0] != 0 || attention[^1] != mixers.Count - 1) yield break;
        yield return new("intra-sandwich", Severity.Warning, mixers[^1].Layer, "intra-layer hybrids are at both ends of the stack.",
            new("+0.018 NLL at 1:5, +0.012 at 1:3, +0.001 at 1:1, at 1B; +0.087 at 1:5 and +0.026 at 1:3 at 11M", Tables), Even(design));
    }

    static IEnumerable<Finding> Clustered(HybridDesign design, ReviewOptions options)
    {
        var (mixers, attention) = Kinds(design);
        if (attention.Length < 2 || attention.Length == mixers.Count || attention.Any(index => mixers[index].Mixer is not IntraHybridSpec))
            yield break;
        if (attention[^1] - attention[0] != attention.Length - 1 || attention.SequenceEqual(Positions(mixers.Count, attention.Length))) yield break;
        yield return new("intra-clustered", Severity.Info, mixers[attention[0]].Layer, "all intra-layer hybrids are in consecutive blocks.",
            new("+0.004 NLL at 1:3, +0.001 at 1:5, -0.001 at 1:1, at 1B, which is near the noise of a run; no difference "
                + "outside the noise at 11M", Tables), Even(design));
    }

    // with a ratio, the placement of the builder has the same effect, unless the even positions begin with the first block
    static Remedy Even(HybridDesign design)
    {
        string change = $".Pattern(\"{Spread(design).Pattern}\")";
        var (mixers, attention) = Kinds(design);
        bool placed = mixers.Count == design.Depth && Even(mixers.Count, attention.Length)[0] != 0;
        return new(placed ? $"{change}, or .Place(Placement.Middle) with a ratio" : change, Spread, Safe: true);
    }

    // the mixers in order, and the indexes of full attention and intra-layer hybrids; empty if the stack has other kinds or shared transformers,
    // about which nothing is known
    static (List<(int Layer, MixerSpec Mixer)> Mixers, int[] Attention) Kinds(HybridDesign design)
    {
        var mixers = Mixers<MixerSpec>(design).ToList();
        if (design.Blocks.Any(block => block.Shared is not null)
            || mixers.Any(entry => entry.Mixer is not (AttentionSpec { Window: null } or IntraHybridSpec or IStateSpaceSpec))) return (mixers, []);
        return (mixers, [.. Enumerable.Range(0, mixers.Count).Where(i => mixers[i].Mixer is not IStateSpaceSpec)]);
    }

    // mixers move, feed-forwards stay
    static HybridDesign Spread(HybridDesign design)
    {
        var (mixers, attention) = Kinds(design);
        if (attention.Length == 0) return design;
        var positions = Positions(mixers.Count, attention.Length);
        var moved = new Queue<MixerSpec>(attention.Select(index => mixers[index].Mixer));
        var rest = new Queue<MixerSpec>(mixers.Select(entry => entry.Mixer).Where(mixer => mixer is IStateSpaceSpec));
        var blocks = design.Blocks;
        for (int i = 0; i < mixers.Count; i++)
        {
            int index = mixers[i].Layer - 1;
            blocks = blocks.With(index, blocks[index] with { Mixer = positions.Contains(i) ? moved.Dequeue() : rest.Dequeue() });
        }
        return design with { Blocks = blocks };
    }

    static int[] Even(int depth, int count) => [.. PlacementRule.Positions(Placement.Middle, depth, count).Select(position => position - 1)];

    // the even positions, counted from 0; if they begin with the first block, that one moves to the first free position
    static int[] Positions(int depth, int count)
    {
        int[] positions = Even(depth, count);
        if (positions[0] != 0 || count == depth) return positions;
        positions[0] = Enumerable.Range(0, depth).First(i => !positions.Contains(i));
        Array.Sort(positions);
        return positions;
    }
}
