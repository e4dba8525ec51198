// Trains, measures and compares four designs of equal size with two seeds each, with the same time for each run, and draws a report.
//   dotnet run -c Release --project samples/Sweep
//   dotnet run -c Release --project samples/Sweep -- 10        seconds per run; the default is 40
//   dotnet run -c Release --project samples/Sweep -- rates     trains every design at four rates and prints the table of README.md
using System.Globalization;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Evaluation.Inside;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Reports.Sweeps;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using SweepSample;

SampleConsole.Prepare();
var corpus = DocumentationCorpus.Load();
using var training = TokenDataset.FromBytes(corpus.Training);
using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
using var stop = new StopSignals(report: Console.Error.WriteLine);
if (args is ["rates"]) return RateSearch.Run(training, heldOut, stop);

double seconds = args.Length > 0 ? double.Parse(args[0], CultureInfo.InvariantCulture) : 40;
foreach (var arm in Arm.All) Console.WriteLine($"{arm.Design.Name,-12} peak rate {RateTrials.Text(arm.Trials.Best)}");
var sweep = new Sweep(new SweepOptions
{
    Folder = Path.Combine("runs", "sweep"), Designs = Arm.Designs, Seeds = [1, 2], Data = training, HeldOut = heldOut,
    Training = Arm.Training(Duration.Time(TimeSpan.FromSeconds(seconds))),
    Tasks =
    [
        new HeldOutTask(heldOut, 128, tokens: 65_536), new PositionLossTask(heldOut, contextLength: 256, buckets: 8, maxWindows: 32,
            trainingLength: 128),
        new InferenceCostTask(new() { BatchSizes = [1], PromptLength = 128, TotalLengths = [192] }),
        new LongContextEvaluation(new Passkey(), new ByteTokenizer(), new() { Lengths = [256, 320, 400], Depths = [0, 0.5, 1], Trials = 2 }),
        new InsideTask(new Passkey(), new ByteTokenizer(), new() { Length = 320, Trials = 2 }),
    ],
});
var result = sweep.Run(new Lines(), stop.Token);
foreach (string design in result.Designs)
{
    var difference = design == result.Designs[0] ? null : result.Compare(result.Designs[0], design, "held-out loss", "loss");
    Console.WriteLine($"{design,-12} {result.Mean(design, "held-out loss", "loss")} nats per "
        + $"byte{(difference is null ? "" : $"; against {result.Designs[0]}: {difference}")}");
}
string report = Path.Combine("runs", "sweep", "report");
new SweepReport(result)
{
    Title = "Attention, Mamba-2 and hybrids",
    Description = $"Equal parameters, {seconds:0} s of training each. Peak learning rates: {Arm.RatesText}. {Arm.RateRule}",
}.Write(report);
Console.WriteLine(result.IsComplete ? $"report: {Path.Combine(report, "index.html")}" : "stopped; the same command continues");
return result.IsComplete ? 0 : stop.ExitCode;
