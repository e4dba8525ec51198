// One rank of a run on several processes; a launcher such as mpirun starts it.
// RankedRun check                        checks collectives, refusals and errors
// RankedRun train SCENARIO...            trains each scenario by every strategy, and prints reports and hashes
// RankedRun save FOLDER SCENARIO [STEP]  trains with checkpoints and a sharded optimizer; the last rank kills itself after STEP
// RankedRun save FOLDER SCENARIO MILLISECONDS RANK   the same, but a rank kills itself after a time
// RankedRun fail                         the last rank throws an exception in a step
// RankedRun hang                         the last rank stops answering
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;
using RankedRun;

var options = new CollectiveOptions { Timeout = TimeSpan.FromSeconds(args[0] == "hang" ? 2 : 60), StartTimeout = TimeSpan.FromSeconds(60) };
using var ranks = Collectives.Connect(options);
try
{
    switch (args[0])
    {
        case "check":
            CollectiveChecks.Run(ranks);
            Print($"rank {ranks.Rank} of {ranks.Size} on {ranks.Library}");
            break;
        case "train":
            CollectiveChecks.Run(ranks);
            Refuse(() => Scenario.All[0].Run(new(ranks), seed: 5 + ranks.Rank));
            foreach (string name in args[1..]) Train(name);
            break;
        case "save":
            int dieAt = args.Length > 3 ? int.Parse(args[3], CultureInfo.InvariantCulture) : -1;
            if (args.Length > 4 && ranks.Rank == int.Parse(args[4], CultureInfo.InvariantCulture)) KillAfter(dieAt);
            var (result, _, model) = Scenario.Get(args[2]).Run(Sharded(), args[1],
                callbacks: [new Journal(dieAt, args.Length == 4 && ranks.Rank == ranks.Size - 1)]);
            Print($"rank {ranks.Rank} ended at {result.Steps} {Convert.ToHexString(SHA256.HashData(model))}");
            break;
        case "fail":
            Scenario.All[0].Run(new(ranks), callbacks: ranks.Rank == ranks.Size - 1 ? [new Failure()] : []);
            break;
        case "hang":
            if (ranks.Rank == ranks.Size - 1) Thread.Sleep(Timeout.Infinite);
            ranks.Barrier();
            break;
    }
}
catch (CollectiveException e)
{
    Print($"rank {ranks.Rank} stopped: {e.Message}");
    Environment.Exit(3);
}

DataParallel Sharded() => new(ranks) { Strategy = DataParallelStrategy.ShardedOptimizer };

void Train(string name)
{
    var scenario = Scenario.Get(name);
    byte[]? first = scenario.Experts ? scenario.Run(new(ranks)).Model : null;
    foreach (var strategy in Enum.GetValues<DataParallelStrategy>())
    {
        var (result, skipped, model) = scenario.Run(new(ranks) { Strategy = strategy });
        if (strategy == DataParallelStrategy.Replicated && first is not null && !model.AsSpan().SequenceEqual(first))
            throw new InvalidOperationException($"{name}: two equal runs differ");
        Report($"{name}, {strategy}", result);
        Print($"{name}, {strategy}: skipped {skipped}");
        Print($"{name}, {strategy}: hash {Convert.ToHexString(SHA256.HashData(model))}");
    }
}

void Report(string prefix, TrainingResult result)
{
    if (!ranks.IsFirst) return;
    foreach (var report in result.History) Print(FormattableString.Invariant($"{prefix}: {report.Step} {report.Loss:r} {report.GradientNorm:r}"));
    foreach (var point in result.Evaluations) Print(FormattableString.Invariant($"{prefix}: held-out {point.Step} {point.Result.Loss:r}"));
}

void KillAfter(int milliseconds) => _ = Task.Delay(milliseconds).ContinueWith(_ => Process.GetCurrentProcess().Kill(), TaskScheduler.Default);

void Refuse(Action action)
{
    try
    {
        action();
    }
    catch (CollectiveException e)
    {
        Print($"refused: {e.Message}");
        return;
    }
    if (ranks.Size > 1) throw new InvalidOperationException("ranks with different seeds trained together");
}

// lines of several ranks share one stream
static void Print(string line)
{
    Console.Out.Write(line + "\n");
    Console.Out.Flush();
}
