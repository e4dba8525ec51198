// Runs a small sweep in a folder, says every step of it, and goes on where an earlier process of the same folder died.
//   KilledSweep FOLDER
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Evaluation.Recall;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

const int vocabulary = 20;
var random = new SeededRandom(1);
var tokens = new int[600];
for (int i = 1; i < tokens.Length; i++) tokens[i] = random.Next(4) == 0 ? random.Next(vocabulary) : (tokens[i - 1] * 3 + 1) % vocabulary;
using var training = TokenDataset.FromTokens(tokens, vocabulary);
using var heldOut = TokenDataset.FromTokens(tokens.AsSpan(0, 100), vocabulary);
var start = HybridDesign.Create(8, vocabulary).WithFeedForward(FeedForwardSpec.SwiGlu(16)).Depth(2);
HybridDesign attention = start.WithAttention(heads: 2).Name("attention").Build(), mamba = start.WithMamba2(stateSize: 4, headSize: 4).Name("mamba")
    .Build();
var task = new MultiQueryRecall { VocabularySize = vocabulary, Length = 16, Pairs = 2 };
var sweep = new Sweep(new SweepOptions
{
    Folder = args[0], Designs = [attention, mamba], Seeds = [1, 2], Data = new DataMixture(new(training, 1, "text"),
        new(task.ToTrainingData(), 1, "recall")),
    HeldOut = heldOut, Tasks = [task.ToEvaluationTask(rows: 16), new HeldOutTask(heldOut, 16)],
    Training = new TrainingOptions { LearningRate = 0.01, ContextLength = 16, BatchSize = 4, Duration = Duration.Steps(24), ReportEvery = 2,
        EvaluateEvery = 8, CheckpointEvery = 3 },
});
var result = sweep.Run(new Lines());
Console.WriteLine(result.IsComplete ? "complete" : "incomplete");

sealed class Lines : IProgress<SweepProgress>
{
    public void Report(SweepProgress value)
    {
        Console.WriteLine($"{value}");
        Console.Out.Flush();
    }
}
