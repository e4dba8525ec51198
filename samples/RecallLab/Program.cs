// Measures how many pairs a model can recall. Mamba-2 and a hybrid of the same size learn multi-query associative recall. The accuracy is printed by
// training length and test length.
//   dotnet run -c Release --project samples/RecallLab
//   dotnet run -c Release --project samples/RecallLab -- 1500 4 1e-2      steps, pairs and peak learning rate
using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Recall;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Running;

SampleConsole.Prepare();
long steps = args.Length > 0 ? long.Parse(args[0], CultureInfo.InvariantCulture) : 1500;
int pairs = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 4;
double rate = args.Length > 2 ? double.Parse(args[2], CultureInfo.InvariantCulture) : 1e-2;
var task = new MultiQueryRecall { VocabularySize = 16 * pairs, Length = 8 * pairs, Pairs = pairs };
var start = HybridDesign.Create(width: 64, vocabularySize: task.RequiredVocabularySize).WithAttention(heads: 2)
    .WithMamba2(stateSize: 4, headSize: 16);
using var stop = new StopSignals(report: Console.Error.WriteLine);
foreach (var design in new[] { start.Pattern("MM").Name("Mamba-2").Build(), start.Pattern("MT").Name("hybrid").Build() })
{
    using var model = design.CreateModel(seed: 1);
    using var trainer = new Trainer(model, task.ToTrainingData(), new TrainingOptions
    {
        LearningRate = rate, ContextLength = task.Length, BatchSize = 32, Duration = Duration.Steps(steps), Seed = 1,
        ReportEvery = (int)Math.Max(1, steps / 10),
    });
    var result = trainer.Run(new Lines(design.Name!), stop.Token);
    if (!result.Completed) return stop.ExitCode;
    var measured = task.Measure(model);
    long state = design.Cost(task.Length).Cache(elementSize: 4).Total;
    Console.WriteLine($"{design.Name}: accuracy {measured.Accuracy} over {pairs} pairs, {state:N0} bytes of state per row, "
        + $"{result.Elapsed.TotalSeconds:0} s");
    Console.WriteLine(task.MeasureGrid([(task.Length, model)], [4 * pairs, 8 * pairs, 12 * pairs, 15 * pairs]));
}
return 0;

sealed class Lines(string name) : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress value) => Console.WriteLine($"{name}: step {value.Step}, loss {value.Loss:0.000}");
}
