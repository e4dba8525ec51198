using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Adds up the measurements of several texts.</summary>
sealed class InspectionSums(InspectionOptions options)
{
    readonly SortedDictionary<(int Block, bool IsOwn, int Head), (List<double> Mass, List<double> Top)> heads = [];
    readonly SortedDictionary<int, (double[] Tokens, int Whole, int Count)> memory = [];
    readonly SortedDictionary<int, double[]> squares = [];
    readonly SortedDictionary<int, double[]> visits = [];
    int texts;

    public void AddRouting(RouterRecord record)
    {
        using var scope = NewDisposeScope();
        var chosen = record.Chosen.flatten();
        var counts = zeros([record.Logits.size(1)], ScalarType.Float64, chosen.device)
            .scatter_add_(0, chosen, ones_like(chosen, dtype: ScalarType.Float64));
        double[] more = TensorMemory.ToArray<double>(counts.cpu());
        if (!visits.TryGetValue(record.Block, out double[]? sum)) visits[record.Block] = sum = new double[more.Length];
        for (int i = 0; i < more.Length; i++) sum[i] += more[i];
    }

    public void Add(InspectionProbe probe, InspectionPrompt prompt)
    {
        texts++;
        foreach (var (site, mass, top) in probe.Heads)
            for (int head = 0; head < mass.Length; head++)
            {
                if (!heads.TryGetValue((site.Block, site.IsOwn, head), out var lists))
                    heads[(site.Block, site.IsOwn, head)] = lists = ([], []);
                lists.Mass.Add(mass[head]);
                lists.Top.Add(top[head]);
            }
        foreach (var (block, decay) in probe.Decays) AddMemory(block, decay, Positions(prompt.Ids.Count));
        foreach (var (block, more) in probe.Squares)
        {
            if (!squares.TryGetValue(block, out double[]? sum)) squares[block] = sum = new double[more.Length];
            for (int i = 0; i < more.Length; i++) sum[i] += more[i];
        }
    }

    int[] Positions(int length)
    {
        int first = length / 2, count = Math.Min(options.MemoryPositions, length - first);
        return [.. Enumerable.Range(1, count).Select(i => first - 1 + (int)((long)i * (length - first) / count))];
    }

    void AddMemory(int block, DecayHistory decay, int[] positions)
    {
        if (!memory.TryGetValue(block, out var sum)) sum = (new double[decay.Heads], 0, 0);
        for (int head = 0; head < decay.Heads; head++)
        {
            var (mean, whole) = decay.Measure(head, positions, options.MemoryThreshold);
            sum.Tokens[head] += mean;
            sum.Whole += whole;
            sum.Count += positions.Length;
        }
        memory[block] = sum;
    }

    public InspectionResult ToResult(IReadOnlyList<InspectionPrompt> prompts)
    {
        if (heads.Count + memory.Count + squares.Count + visits.Count == 0)
            throw Require.Unfit(nameof(prompts),
                "model has no attention that a needle was given for, no state-space layer, no intra-layer hybrid and no mixture of experts",
                "at least one of them");
        return new InspectionResult(texts,
            [.. heads.Select(item => new HeadAttention(item.Key.Block + 1, !item.Key.IsOwn, item.Key.Head,
                Estimate.FromSamples(item.Value.Mass), item.Value.Top.Average()))],
            heads.Count == 0 ? null : prompts.Where(prompt => prompt.NeedleLength > 0).Average(Uniform),
            [.. memory.Select(item => new StateMemory(item.Key + 1, [.. item.Value.Tokens.Select(sum => sum / texts)],
                (double)item.Value.Whole / item.Value.Count))],
            [.. squares.Select(item => new BranchNorms(item.Key + 1, Root(item.Value, 0), Root(item.Value, 1), Root(item.Value, 2),
                Root(item.Value, 3)))],
            [.. visits.Select(item => new RouterLoad(item.Key, [.. item.Value.Select(count => count / item.Value.Sum())]))]);
    }

    static double Uniform(InspectionPrompt prompt) => Enumerable.Range(prompt.Ids.Count - prompt.Queries, prompt.Queries)
        .Average(at => (double)prompt.NeedleLength / (at + 1));

    static double Root(double[] sums, int branch) => Math.Sqrt(sums[2 * branch] / sums[2 * branch + 1]);
}
