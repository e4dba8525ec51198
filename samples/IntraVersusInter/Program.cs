using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Reports;
using HybridArchitectures.Training;

// Attention and Mamba-2 combined in two ways, as arXiv 2510.04800 compares them: in layers of their own, or as two branches of one layer
// whose outputs are normed and subtracted. Same widths, same depth; the feed-forward of the second is chosen for the same number of parameters.
const int Width = 128, Vocabulary = 256, Context = 256;
var attention = new AttentionSpec { Heads = 4, KeyValueHeads = 2 };
var mamba = new Mamba2Spec { StateSize = 16, HeadSize = 64 };

HybridDesign inter = HybridStack.Design(Width, Vocabulary)
    .WithAttention(attention).WithMamba2(mamba).WithFeedForward(FeedForwardSpec.SwiGlu(256))
    .Depth(6).Ratio(attention: 1, ssm: 5).Place(Placement.Middle).Name("inter-layer 1:5").Build();

// half of the heads go to each branch
HybridDesign intra = HybridStack.Design(Width, Vocabulary)
    .WithIntraHybrid(new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 32 }, new Mamba2Spec { Heads = 2, HeadSize = 64, StateSize = 16 }, FusionKind.Difference)
    .WithMamba2(mamba).WithFeedForward(FeedForwardSpec.SwiGlu(256))
    .Depth(6).Ratio("H", 1, "M", 5).Place(Placement.Middle).Name("intra-layer 1:5").Build();
intra = DesignSolver.ByFeedForward(intra, DesignMeasure.Parameters, of: inter, multiple: 8).Design;

var corpus = DocumentationCorpus.Load();
using var training = TokenDataset.FromBytes(corpus.Training);
using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
long tokens = 0;
var runs = new List<RunSummary>();
foreach (var design in new[] { inter, intra })
{
    Console.WriteLine($"{design.Name}: {design.Pattern}, {design.CountParameters().Total:N0} parameters, cache after {Context} tokens {design.Cost(Context).Cache().Total:N0} bytes");
    using var model = design.CreateModel(seed: 1);
    // the first has 25 seconds, the second as many tokens
    var options = new TrainingOptions { LearningRate = 6e-3, Context = Context, BatchRows = 4, ReportEvery = 10 };
    using var trainer = new Trainer(model, training, tokens == 0 ? options with { Budget = TimeSpan.FromSeconds(25) } : options with { Tokens = tokens });
    var result = trainer.Run();
    tokens = result.Tokens;
    var measured = Evaluator.Evaluate(model, heldOut, Context, rows: 16, tokens: 65_536);
    Console.WriteLine($"  {measured.BitsPerByte:f3} bits per byte held out, after {tokens / 1000} kB in {result.Elapsed.TotalSeconds:f0} s");
    runs.Add(new RunSummary
    {
        Name = design.Name!, Design = design, HeldOutLoss = measured.BitsPerByte,
        Points = [.. result.History.Select(point => new RunPoint(point.Step, point.Tokens, point.Elapsed.TotalSeconds, point.Loss / Math.Log(2)))],
    });
}

string report = Path.Combine("runs", "intra-versus-inter");
new RunReport { Title = "Inter-layer and intra-layer hybrid", Runs = runs, Created = DateTimeOffset.Now }.Write(report);
Console.WriteLine($"report: {Path.Combine(report, "index.html")}");
