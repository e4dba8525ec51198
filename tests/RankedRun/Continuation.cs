using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;

namespace RankedRun;

/// <summary>Continues runs with other numbers of ranks and other strategies.</summary>
static class Continuation
{
    const int Half = 4;

    static Scenario Scenario => RankedRun.Scenario.Get("documents, experts, Muon");

    /// <summary>
    /// Saves in the middle of a run on all ranks by every strategy. Then, groups of 2 ranks and single ranks go on by other strategies. At last, all
    /// ranks go on with a run of one rank, and with their own.
    /// </summary>
    public static void Run(Collectives ranks, string folder)
    {
        foreach (var strategy in Scenario.Strategies) Scenario.RunUntil(Half, Path.Combine(folder, $"{strategy}"), Strategies.On(ranks, strategy));
        using (var pair = ranks.Split(ranks.Rank / 2))
        {
            (DataParallelStrategy From, DataParallelStrategy To, int Ranks)[] cases =
            [
                (DataParallelStrategy.Replicated, DataParallelStrategy.FullySharded, 2),
                (DataParallelStrategy.ShardedOptimizer, DataParallelStrategy.Hybrid, 2),
                (DataParallelStrategy.FullySharded, DataParallelStrategy.Replicated, 1),
                (DataParallelStrategy.Hybrid, DataParallelStrategy.ShardedOptimizer, 2),
            ];
            int pairs = ranks.Size / 2;
            for (int i = ranks.Rank / 2; i < cases.Length; i += pairs) GoOn(pair, folder, cases[i].From, cases[i].To, cases[i].Ranks);
        }
        ranks.Barrier();
        GoOn(ranks, folder, "one rank", DataParallelStrategy.FullySharded, ranks.Size);
        Scenario.RunUntil(Half, Path.Combine(folder, "again"), Strategies.On(ranks, DataParallelStrategy.FullySharded));
        GoOn(ranks, folder, "again", DataParallelStrategy.FullySharded, ranks.Size);
        if (RankedRun.Scenario.IsFull) Scenario.RunUntil(Half, Path.Combine(folder, "later"), Strategies.On(ranks, DataParallelStrategy.Hybrid));
    }

    static void GoOn(Collectives ranks, string folder, DataParallelStrategy from, DataParallelStrategy to, int count) =>
        GoOn(ranks, folder, $"{from}", to, count);

    static void GoOn(Collectives ranks, string folder, string from, DataParallelStrategy to, int count)
    {
        if (count == 1 && !ranks.IsFirst) return;
        var (result, _, model) = Scenario.Run(count == 1 ? null : Strategies.On(ranks, to), Path.Combine(folder, from));
        if (ranks.IsFirst)
            Output.Print(FormattableString.Invariant($"{from} went on by {to} on {count}: {result.Final!.Loss:r} {Output.Hash(model)}"));
    }
}
