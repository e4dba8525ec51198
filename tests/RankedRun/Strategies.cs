using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;

namespace RankedRun;

/// <summary>Contains the strategies for tests: hybrid ones have two machines, and every block is a bucket.</summary>
static class Strategies
{
    public static DataParallel On(Collectives ranks, DataParallelStrategy strategy) =>
        new(ranks) { Strategy = strategy, BucketBytes = 1, ShardRanks = ranks.Size % 2 == 0 ? ranks.Size / 2 : 0 };

    /// <summary>Trains by each strategy, twice by the second scenario, and prints reports and hashes.</summary>
    public static void Train(Collectives ranks, string name)
    {
        var scenario = Scenario.Get(name);
        foreach (var strategy in scenario.Strategies)
        {
            var (result, skipped, model) = scenario.Run(On(ranks, strategy), callbacks: [new GatherCheck(strategy, ranks.Size)]);
            // the runs that go on compare those with fully sharded parameters
            bool repeats = scenario.Experts && (Scenario.IsFull || strategy == DataParallelStrategy.Replicated);
            if (repeats && !scenario.Run(On(ranks, strategy)).Model.AsSpan().SequenceEqual(model))
                throw new InvalidOperationException($"{name}: two equal runs by {strategy} differ");
            string prefix = $"{name}, {strategy}";
            if (ranks.IsFirst) Report(prefix, result);
            Output.Print($"{prefix}: skipped {skipped}");
            Output.Print($"{prefix}: hash {Output.Hash(model)}");
        }
    }

    static void Report(string prefix, TrainingResult result)
    {
        foreach (var report in result.History)
            Output.Print(FormattableString.Invariant($"{prefix}: {report.Step} {report.Loss:r} {report.GradientNorm:r}"));
        foreach (var point in result.Evaluations)
            Output.Print(FormattableString.Invariant($"{prefix}: held-out {point.Step} {point.Result.Loss:r}"));
    }
}
