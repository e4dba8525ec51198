// One rank of a run on several processes; a launcher such as mpirun starts it.
// RankedRun check                        checks collectives, refusals and errors
// RankedRun train FOLDER SCENARIO...     trains each scenario twice without a folder, and prints reports and hashes; FOLDER can be -
// RankedRun save FOLDER SCENARIO [STEP]  trains with checkpoints; the last rank kills itself after STEP
// RankedRun hang                         the last rank stops answering
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using HybridArchitectures.Training.Distributed;
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
            foreach (string name in args[2..]) Train(name);
            break;
        case "save":
            int dieAt = args.Length > 3 ? int.Parse(args[3], CultureInfo.InvariantCulture) : -1;
            var (result, _, model) = Scenario.Get(args[2]).Run(new(ranks), args[1], callbacks: new Journal(dieAt, ranks.Rank == ranks.Size - 1));
            Print($"rank {ranks.Rank} ended at {result.Steps} {Convert.ToHexString(SHA256.HashData(model))}");
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

void Train(string name)
{
    var scenario = Scenario.Get(name);
    var (result, skipped, model) = scenario.Run(new(ranks), args[1] == "-" ? null : args[1]);
    var (_, _, second) = scenario.Run(new(ranks));
    if (!model.AsSpan().SequenceEqual(second)) throw new InvalidOperationException($"{name}: two equal runs differ");
    if (ranks.IsFirst)
    {
        foreach (var report in result.History) Print(FormattableString.Invariant($"{name}: {report.Step} {report.Loss:r} {report.GradientNorm:r}"));
        foreach (var point in result.Evaluations) Print(FormattableString.Invariant($"{name}: held-out {point.Step} {point.Result.Loss:r}"));
    }
    Print($"{name}: skipped {skipped}");
    Print($"{name}: hash {Convert.ToHexString(SHA256.HashData(model))}");
}

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
