using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Collects what happens inside the passes over one text.</summary>
sealed class InspectionProbe(InspectionPrompt prompt, InspectionOptions options, HybridDesign design) : IPassProbe
{
    readonly SortedDictionary<(int Block, bool IsOwn), (double[,] Mass, bool[,] IsTop)> attention = [];
    readonly SortedDictionary<int, DecayHistory> decays = [];
    readonly SortedDictionary<int, double[]> squares = [];
    readonly HashSet<int> sharedSeen = [];

    /// <summary>Gets the mean mass and the share of top queries of each head, by block.</summary>
    public IEnumerable<((int Block, bool IsOwn) Site, double[] Mass, double[] Top)> Heads => attention.Select(item => (item.Key,
        Means(item.Value.Mass, value => value), Means(item.Value.IsTop, isTop => isTop ? 1 : 0)));

    /// <summary>Gets the decays, by block from 0.</summary>
    public IReadOnlyDictionary<int, DecayHistory> Decays => decays;

    /// <summary>Gets four sums of squares, each followed by its count of numbers, by block from 0.</summary>
    public IReadOnlyDictionary<int, double[]> Squares => squares;

    /// <summary>Prepares for the next pass.</summary>
    public void BeginPass() => sharedSeen.Clear();

    public void OnAttention(SequenceContext context, AttentionSpec spec, Tensor query, Tensor key, AttentionPositions? positions)
    {
        // a shared transformer comes before the mixer of its block
        bool isOwn = design.Blocks[context.Block].Shared is null || !sharedSeen.Add(context.Block);
        if (prompt.NeedleLength == 0) return;
        long past = context.PastLengths[0], first = prompt.Ids.Count - prompt.Queries;
        long[] rows = [.. Enumerable.Range(0, (int)context.Length).Select(row => past + row).Where(at => at >= first)];
        if (rows.Length == 0) return;
        using var scope = NewDisposeScope();
        var chosen = query.narrow(1, rows[0] - past, rows.Length);
        var (mass, top) = AttentionMass.Measure(chosen, key, spec, rows, positions?.Key, prompt.NeedleStart, prompt.NeedleLength);
        if (!attention.TryGetValue((context.Block, isOwn), out var all))
            attention[(context.Block, isOwn)] = all = (new double[mass.GetLength(0), prompt.Queries], new bool[mass.GetLength(0), prompt.Queries]);
        for (int head = 0; head < mass.GetLength(0); head++)
            for (int i = 0; i < rows.Length; i++)
                (all.Mass[head, rows[i] - first], all.IsTop[head, rows[i] - first]) = (mass[head, i], top[head, i]);
    }

    public void OnDecay(SequenceContext context, Tensor steps, Tensor rates)
    {
        if (!decays.TryGetValue(context.Block, out var history)) decays[context.Block] = history = new DecayHistory(rates, options.MaxHeads);
        history.Append(steps);
    }

    public void OnBranches(SequenceContext context, Tensor stateSpace, Tensor attended, Tensor fusedStateSpace, Tensor fusedAttention)
    {
        if (!squares.TryGetValue(context.Block, out double[]? sums)) squares[context.Block] = sums = new double[8];
        Tensor[] branches = [stateSpace, attended, fusedStateSpace, fusedAttention];
        for (int i = 0; i < branches.Length; i++)
        {
            using var scope = NewDisposeScope();
            var wide = branches[i].to(ScalarType.Float64);
            sums[2 * i] += (wide * wide).sum().item<double>();
            sums[2 * i + 1] += branches[i].NumberOfElements;
        }
    }

    static double[] Means<T>(T[,] values, Func<T, double> number) => [.. Enumerable.Range(0, values.GetLength(0))
        .Select(head => Enumerable.Range(0, values.GetLength(1)).Average(row => number(values[head, row])))];
}
