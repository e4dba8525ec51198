using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Logging;
using HybridArchitectures.Training.Running;
using Resume;

SampleConsole.Prepare();

// Compares a run that is stopped and resumed with an uninterrupted run: the final parameters have the same bits.
// Ctrl-C, SIGTERM or a closed terminal stops both at any step. When it is started again, the program continues.
const string Folder = "runs/resume";
var corpus = DocumentationCorpus.Load();
using var training = TokenDataset.FromBytes(corpus.Training);
using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
var design = HybridDesign.Create(width: 64, vocabularySize: 256)
    .WithAttention(heads: 4, keyValueHeads: 2).WithMamba2(stateSize: 16, headSize: 32).WithFeedForward(FeedForwardSpec.SwiGlu(160))
    .Depth(4).Ratio(attention: 1, ssm: 3).Build();
var options = new TrainingOptions
{
    LearningRate = 6e-3, ContextLength = 128, BatchSize = 8, MicroBatchSize = 4, Duration = Duration.Steps(120), Seed = 1, ReportEvery = 20,
    EvaluationTokens = 16_384,
    CheckpointEvery = 20, KeepLast = 2, KeepEvery = 60,       // in addition to the best one
    ActivationCheckpointing = true, SpikeGuard = new SpikeGuard { Action = SpikeAction.Skip },
};

// never disposed: a late signal must not end the program either
var stop = new StopSignals(report: Console.Error.WriteLine);

if (!Run("straight", stop.Token) || !Run("stopped", stop.Token, stopAfter: 70) || !Run("stopped", stop.Token))
{
    Console.WriteLine("stopped; the same command continues");
    return stop.ExitCode;
}
bool same = File.ReadAllBytes(Last("straight")).AsSpan().SequenceEqual(File.ReadAllBytes(Last("stopped")));
Console.WriteLine($"parameters after {options.Duration} in one piece and in two: {(same ? "the same, bit for bit" : "DIFFERENT")}");
Console.WriteLine(
    "kept of the stopped run: "
    + $"{string.Join(", ", Directory.GetDirectories(Path.Combine(Folder, "stopped"), "step-*").Select(Path.GetFileName).Order())}");
return same ? 0 : 1;

static string Last(string name) =>
    Path.Combine(Directory.GetDirectories(Path.Combine(Folder, name), "step-*").Max(StringComparer.Ordinal)!, Checkpoint.ModelFile);

// starts or continues the run of this name; returns true if nothing is left to do
bool Run(string name, CancellationToken cancellation, long stopAfter = long.MaxValue)
{
    var folder = Path.Combine(Folder, name);
    bool begun = Trainer.HasCheckpoint(folder);
    using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
    using var board = new TensorBoardLog(Path.Combine(folder, "events"));
    TrainingCallback[] callbacks = [new StopAfter(stopAfter, source), board];
    using var fresh = begun ? null : design.CreateModel(seed: 0);
    using var trainer = begun ? Trainer.Resume(folder, training, heldOut, callbacks)
        : new Trainer(fresh!, training, options with { Folder = folder }, heldOut, callbacks);
    using var own = begun ? trainer.Model : null;
    if (trainer.Step >= stopAfter) return true;
    if (trainer.Step > 0) Console.WriteLine($"{name}: continues from step {trainer.Step}");
    var result = trainer.Run(new ProgressLines(name), source.Token);
    Console.WriteLine(result.Completed ? $"{name}: {result.Final!.BitsPerByte:f3} bits per byte held out"
        : $"{name}: stopped after step {result.Steps}, saved in {result.Checkpoint}");
    return !cancellation.IsCancellationRequested;
}
