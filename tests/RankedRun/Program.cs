// One rank of a run on several processes; a launcher such as mpirun starts it.
// RankedRun check                        checks collectives, refusals and errors
// RankedRun all FOLDER SCENARIO...       the same; trains each scenario by every strategy, and continues runs in the folder
// RankedRun save FOLDER SCENARIO STRATEGY [STEP]  trains with checkpoints; the last rank kills itself after STEP
// RankedRun save FOLDER SCENARIO STRATEGY MILLISECONDS RANK   the same, but a rank kills itself after a time
// RankedRun fail                         the last rank throws an exception in a step
// RankedRun memory                       the last rank has no memory for a step
// RankedRun hang                         the last rank stops answering
// RankedRun absent                       the last rank does not connect
using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Training.Distributed;
using RankedRun;

bool waits = args[0] is "hang" or "absent";
var options = new CollectiveOptions { Timeout = TimeSpan.FromSeconds(waits ? 2 : 60), StartTimeout = TimeSpan.FromSeconds(waits ? 2 : 60) };
try
{
    if (args[0] == "absent" && Environment.GetEnvironmentVariable("OMPI_COMM_WORLD_RANK") == "1") Thread.Sleep(Timeout.Infinite);
    using var ranks = Collectives.Connect(options);
    Act(ranks);
}
catch (Exception e) when (e is CollectiveException or InsufficientMemoryException)
{
    Output.Print($"stopped: {e.Message}");
    Environment.Exit(3);
}

void Act(Collectives ranks)
{
    bool isLast = ranks.Rank == ranks.Size - 1;
    switch (args[0])
    {
        case "check":
            CollectiveChecks.Run(ranks);
            Output.Print($"rank {ranks.Rank} of {ranks.Size} on {ranks.Library}");
            break;
        case "all":
            CollectiveChecks.Run(ranks);
            Refusals.Run(ranks);
            foreach (string name in args[2..]) Strategies.Train(ranks, name);
            Continuation.Run(ranks, args[1]);
            break;
        case "save":
            Save(ranks, isLast);
            break;
        case "fail":
            Scenario.All[0].Run(new(ranks), callbacks: isLast ? [new Failure()] : []);
            break;
        case "memory":
            Scenario.All[0].Run(new(ranks) { Strategy = DataParallelStrategy.FullySharded }, callbacks: [new Shortage(isLast)]);
            break;
        case "hang":
            if (isLast) Thread.Sleep(Timeout.Infinite);
            ranks.Barrier();
            break;
    }
}

void Save(Collectives ranks, bool isLast)
{
    int dieAt = args.Length > 4 ? int.Parse(args[4], CultureInfo.InvariantCulture) : -1;
    if (args.Length > 5 && ranks.Rank == int.Parse(args[5], CultureInfo.InvariantCulture)) KillAfter(dieAt);
    var (result, _, model) = Scenario.Get(args[2]).Run(Strategies.On(ranks, Enum.Parse<DataParallelStrategy>(args[3])), args[1],
        callbacks: [new Journal(dieAt, args.Length == 5 && isLast)]);
    Output.Print($"rank {ranks.Rank} ended at {result.Steps} {Output.Hash(model)}");
}

static void KillAfter(int milliseconds) => _ = Task.Delay(milliseconds).ContinueWith(_ => Process.GetCurrentProcess().Kill(), TaskScheduler.Default);
