using CustomMixer;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

SampleConsole.Prepare();

// register the mixer once, so designs with it can be written to JSON and to checkpoints, and read again
MixerSpec.Register<GatedRecurrenceSpec>("gatedRecurrence");

// the custom mixer alternates with attention like a built-in state-space layer
HybridDesign design = HybridDesign.Create(width: 128, vocabularySize: 256)
    .WithMixer(new GatedRecurrenceSpec { InnerWidth = 256 })
    .WithAttention(heads: 4, keyValueHeads: 2)
    .WithFeedForward(FeedForwardSpec.SwiGlu(256))
    .Pattern("QQTQ")
    .Name("Gated recurrence with attention")
    .Build();
Console.WriteLine(design.Explain(sequenceLength: 256));

var corpus = DocumentationCorpus.Load();
using var training = TokenDataset.FromBytes(corpus.Training);
using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
using var model = design.CreateModel(seed: 1);
string folder = Path.Combine("runs", "custom-mixer");
if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
using var trainer = new Trainer(model, training, new TrainingOptions
{
    Duration = Duration.Time(TimeSpan.FromSeconds(40)), LearningRate = 3e-3, ContextLength = 256, BatchSize = 4, ReportEvery = 20, Folder = folder,
});
var result = trainer.Run(new InlineProgress(report =>
    Console.WriteLine($"step {report.Step,4}   {report.Loss / Math.Log(2):f3} bits per byte   {report.TokensPerSecond:N0} bytes/s")));
var measured = Evaluator.Evaluate(model, heldOut, contextLength: 256, rows: 16, tokens: 65_536);
Console.WriteLine($"held out: {measured.BitsPerByte:f3} bits per byte, after {result.Tokens / 1000} kB");

// the state is carried from token to token, and the checkpoint contains the mixer
using var loaded = Checkpoint.Load(result.Checkpoint!);
var written = new TextGenerator(loaded, new ByteTokenizer())
    .Generate("Gets or sets the ", new GenerationOptions { MaxNewTokens = 100, Temperature = 0.6, Seed = 1 });
Console.WriteLine($"it writes: Gets or sets the {written.Text.ReplaceLineEndings(" ")}");

/// <summary>Reports progress immediately, on the training thread.</summary>
sealed class InlineProgress(Action<TrainingProgress> report) : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress value) => report(value);
}
