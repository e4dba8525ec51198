using System.Globalization;
using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains what <see cref="ModelInspection"/> measured inside a model. A list is empty if the model has no such part.</summary>
/// <param name="Texts">The number of texts.</param>
/// <param name="Heads">The attention on the needle, by block and head.</param>
/// <param name="UniformMass">The mass that equal attention on all earlier tokens would give; null if no text has a needle.</param>
/// <param name="Memory">The effective memory of recurrent states, by block.</param>
/// <param name="Branches">The norms of the branches of intra-layer hybrids, by block.</param>
/// <param name="Routers">The load of experts, by block.</param>
public sealed record InspectionResult(int Texts, IReadOnlyList<HeadAttention> Heads, double? UniformMass, IReadOnlyList<StateMemory> Memory,
    IReadOnlyList<BranchNorms> Branches, IReadOnlyList<RouterLoad> Routers)
{
    static readonly (string Label, double Share)[] Quantiles =
        [("shortest", 0), ("10 %", 0.1), ("25 %", 0.25), ("median", 0.5), ("75 %", 0.75), ("90 %", 0.9), ("longest", 1)];

    /// <summary>Returns the heads whose mean mass is at least a share, with the largest mass first.</summary>
    /// <param name="mass">The share, in (0, 1]. The default is 0.1.</param>
    public IReadOnlyList<HeadAttention> RetrievalHeads(double mass = 0.1)
    {
        Require.InRange(mass is > 0 and <= 1, nameof(mass), mass, "a share in (0, 1]");
        return [.. Heads.Where(head => head.Mass.Value >= mass).OrderByDescending(head => head.Mass.Value)];
    }

    /// <summary>Returns the numbers as a task result with heat maps and curves.</summary>
    /// <param name="task">The name of the task.</param>
    /// <param name="protocol">One sentence that describes the measurement.</param>
    /// <param name="retrievalMass">The mass from which a head counts as a retrieval head. The default is 0.1.</param>
    public TaskResult ToTaskResult(string task, string protocol, double retrievalMass = 0.1) =>
        new(task, protocol, [.. Metrics(retrievalMass)], [.. HeatMaps()], [.. Curves()]);

    IEnumerable<Metric> Metrics(double retrievalMass)
    {
        if (Heads.Count > 0)
        {
            var best = Heads.MaxBy(head => head.Mass.Value)!;
            yield return new("largest attention mass on the needle", best.Mass.Value, best.Mass.StandardError, Texts);
            yield return new("retrieval heads", RetrievalHeads(retrievalMass).Count, null, Texts,
                $"heads with a mass of at least {Number(retrievalMass)}");
        }
        if (Memory.Count > 0)
        {
            yield return new("longest effective memory", Memory.Max(layer => layer.Quantile(1)), null, Texts, "tokens");
            yield return new("median effective memory", Memory.Average(layer => layer.Quantile(0.5)), null, Texts, "tokens");
        }
        if (Branches.Count > 0)
            yield return new("attention's share of fused branches", Branches.Average(block => block.AttentionShare), null, Texts);
        if (Routers.Count > 0)
            yield return new("load of the busiest expert", Routers.Max(block => block.MaxOverMean), null, Texts, "times the mean load",
                HigherIsBetter: false);
    }

    IEnumerable<HeatMap> HeatMaps()
    {
        if (Heads.Count > 0)
        {
            var groups = Heads.GroupBy(head => (head.Block, head.IsShared)).ToArray();
            int columns = groups.Max(group => group.Count());
            yield return new("Attention mass on the needle", "block",
                [.. groups.Select(group => Number(group.Key.Block) + (group.Key.IsShared ? "s" : ""))],
                "head", [.. Enumerable.Range(0, columns).Select(head => Number(head))],
                [.. groups.Select(group => Row(columns, head => group.FirstOrDefault(item => item.Head == head)?.Mass.Value))],
                Max: Math.Max(0.1, Heads.Max(head => head.Mass.Value)));
        }
        if (Memory.Count > 0)
            yield return new("Effective memory of states (tokens)", "block", [.. Memory.Select(layer => Number(layer.Block))], "heads, by memory",
                [.. Quantiles.Select(quantile => quantile.Label)],
                [.. Memory.Select(layer => Row(Quantiles.Length, i => layer.Quantile(Quantiles[i].Share)))],
                Max: Math.Max(1, Memory.Max(layer => layer.Quantile(1))));
        if (Branches.Count > 0)
            yield return new("Root mean square of branches", "block", [.. Branches.Select(block => Number(block.Block))], "branch",
                ["state space", "attention", "state space, fused", "attention, fused"],
                [.. Branches.Select(block => (IReadOnlyList<double?>)
                    [block.StateSpace, block.Attention, block.FusedStateSpace, block.FusedAttention])],
                Max: Branches.Max(block => Math.Max(
                Math.Max(block.StateSpace, block.Attention), Math.Max(block.FusedStateSpace, block.FusedAttention))));
        if (Routers.Count > 0)
        {
            int columns = Routers.Max(block => block.Shares.Count);
            yield return new("Load of experts (1: equal)", "block", [.. Routers.Select(block => Number(block.Block))], "expert",
                [.. Enumerable.Range(0, columns).Select(expert => Number(expert))],
                [.. Routers.Select(block => Row(columns, i => i < block.Shares.Count ? block.Shares[i] * block.Shares.Count : null))],
                Max: Math.Max(2, Routers.Max(block => block.MaxOverMean)));
        }
    }

    IEnumerable<MeasuredCurve> Curves()
    {
        if (Memory.Count > 1)
        {
            yield return new("Longest effective memory by depth", "block", "tokens",
                [.. Memory.Select(layer => new CurvePoint(layer.Block, layer.Quantile(1)))]);
            yield return new("Median effective memory by depth", "block", "tokens",
                [.. Memory.Select(layer => new CurvePoint(layer.Block, layer.Quantile(0.5)))]);
        }
        if (Branches.Count > 1)
            yield return new("Attention's share of fused branches by depth", "block", "share",
                [.. Branches.Select(block => new CurvePoint(block.Block, block.AttentionShare))]);
    }

    static IReadOnlyList<double?> Row(int count, Func<int, double?> value) => [.. Enumerable.Range(0, count).Select(value)];

    static string Number(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);
}
