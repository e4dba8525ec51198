// Trains a small hybrid for a minute and measures it: held-out loss, loss by position, multiple choice from a file, passkey, inference cost.
//   dotnet run -c Release --project samples/Evaluate
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Benchmarks;
using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

SampleConsole.Prepare();
const int ContextLength = 128;
var tokenizer = new ByteTokenizer(endOfText: true);
var corpus = DocumentationCorpus.Load();
using var training = TokenDataset.FromDocuments(corpus.Training, tokenizer);
using var heldOut = TokenDataset.FromDocuments(corpus.HeldOut, tokenizer);
var design = HybridDesign.Create(width: 96, vocabularySize: tokenizer.VocabularySize)
    .WithAttention(heads: 4, keyValueHeads: 2).WithMamba2(stateSize: 16, headSize: 32).WithFeedForward(FeedForwardSpec.SwiGlu(192))
    .Depth(4).Ratio(attention: 1, ssm: 3).Place(Placement.Middle).Build();
using var model = design.CreateModel(seed: 1);
using var trainer = new Trainer(model, training, new TrainingOptions
{
    LearningRate = 6e-3, ContextLength = ContextLength, BatchSize = 8, Duration = Duration.Time(TimeSpan.FromSeconds(60)), Seed = 1,
});
trainer.Run();

// custom questions; ChoiceFormats also reads the files of HellaSwag, PIQA, ARC and others
string questions = Path.Combine(Path.GetTempPath(), $"questions-{Environment.ProcessId}.jsonl");
File.WriteAllLines(questions,
[
    """{"prompt": "Returns the number of elements in", "choices": ["the collection.", "colour the of.", "zq xv jk."], "answer": 0}""",
    """{"prompt": "Throws an exception if the argument", "choices": ["is null.", "null is the.", "qqqq"], "answer": 0}""",
    """{"prompt": "Gets or sets a value that indicates", "choices": ["xj kq", "whether", "rhwteeh"], "answer": 1}""",
]);
EvaluationTask[] tasks =
[
    new HeldOutTask(heldOut, ContextLength, tokens: 32_768),
    new PositionLossTask(heldOut, contextLength: 2 * ContextLength, buckets: 8, maxWindows: 48, trainingLength: ContextLength),
    new ChoiceTask(ChoiceFormats.Generic, ChoiceFormats.Generic.Read(questions), tokenizer),
    new LongContextEvaluation(new Passkey(), tokenizer, new LongContextOptions { Lengths = [400, 600], Depths = [0, 0.5, 1], Trials = 2 }),
    new InferenceCostTask(new() { BatchSizes = [1], PromptLength = 128, TotalLengths = [160] }),
];
foreach (var task in tasks)
{
    var result = task.Run(model);
    Console.WriteLine($"\n{result.Task}: {result.Protocol}");
    foreach (var metric in result.Metrics)
        Console.WriteLine($"  {metric.Name}: {metric.Value:0.####}{(metric.StandardError is { } error ? $" +- {error:0.####}" : "")} {metric.Unit}");
    foreach (var map in result.HeatMaps) Console.WriteLine(map);
}
File.Delete(questions);
