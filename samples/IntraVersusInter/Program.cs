using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using HybridArchitectures.Reports;
using HybridArchitectures.Reports.Page;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

SampleConsole.Prepare();

// Compares two ways to combine attention and Mamba-2, like arXiv 2510.04800: in separate layers, or as two branches of one layer whose outputs are
// normed and subtracted. Width and depth are equal. The feed-forward of the second design is chosen for the same number of parameters.
const int Width = 128, VocabularySize = 256, ContextLength = 256;
var attention = new AttentionSpec { Heads = 4, KeyValueHeads = 2 };
var mamba = new Mamba2Spec { StateSize = 16, HeadSize = 64 };

HybridDesign inter = HybridDesign.Create(Width, VocabularySize)
    .WithAttention(attention).WithMamba2(mamba).WithFeedForward(FeedForwardSpec.SwiGlu(256))
    .Depth(6).Ratio(attention: 1, ssm: 5).Place(Placement.Middle).Name("inter-layer 1:5").Build();

// each branch gets half of the heads
HybridDesign intra = HybridDesign.Create(Width, VocabularySize)
    .WithIntraHybrid(new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 32 },
        new Mamba2Spec { Heads = 2, HeadSize = 64, StateSize = 16 }, FusionKind.Difference)
    .WithMamba2(mamba).WithFeedForward(FeedForwardSpec.SwiGlu(256))
    .Depth(6).Ratio("H", 1, "M", 5).Place(Placement.Middle).Name("intra-layer 1:5").Build();
intra = DesignSolver.ByFeedForward(intra, DesignMeasure.Parameters, of: inter, multiple: 8).Design;

var corpus = DocumentationCorpus.Load();
using var training = TokenDataset.FromBytes(corpus.Training);
using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
var runs = new List<RunSummary>();
// each design uses its best peak learning rate out of 1.5e-3, 3e-3, 6e-3 and 1.2e-2, each tried in a whole run (see README.md)
foreach (var (design, rate) in new[] { (inter, 3e-3), (intra, 6e-3) })
{
    Console.WriteLine(
        $"{design.Name}: {design.Pattern}, {design.CountParameters().Total:N0} parameters, cache after {ContextLength} tokens "
        + $"{design.Cost(ContextLength).Cache().Total:N0} bytes, "
        + $"peak rate {rate:0.##e-0}");
    using var model = design.CreateModel(seed: 1);
    using var trainer = new Trainer(model, training, new TrainingOptions
    {
        LearningRate = rate, ContextLength = ContextLength, BatchSize = 4, Duration = Duration.Steps(300),
        Schedule = new TrapezoidSchedule { WarmUp = 0.05, CoolDown = 0.4 }, Seed = 1, ReportEvery = 10,
    });
    var result = trainer.Run();
    var measured = Evaluator.Evaluate(model, heldOut, ContextLength, rows: 16, tokens: 65_536);
    Console.WriteLine($"  {measured.BitsPerByte:f3} bits per byte held out, after {result.Tokens / 1000} kB in {result.Elapsed.TotalSeconds:f0} s");
    runs.Add(RunSummary.FromTraining(design.Name!, design, result, heldOut: measured) with
    {
        Facts = [new("peak rate", $"{rate:0.##e-0}, the best of 1.5e-3, 3e-3, 6e-3 and 1.2e-2 for this design")],
    });
}

string report = Path.Combine("runs", "intra-versus-inter");
new RunReport
{
    Title = "Inter-layer and intra-layer hybrid", Runs = runs, Created = DateTimeOffset.Now,
    Facts = [new("Peak rates", "inter-layer 3e-3, intra-layer 6e-3: of whole runs at 1.5e-3, 3e-3, 6e-3 and 1.2e-2, the best for the design")],
}.Write(report);
Console.WriteLine($"report: {Path.Combine(report, "index.html")}");
