using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

SampleConsole.Prepare();

// Compares a hybrid whose feed-forwards have 8 experts with a dense hybrid of the same number of active parameters. Each token uses one expert and a
// shared one. A selection bias, which is adjusted after each step, balances the experts without a loss (arXiv 2408.15664).
const int Width = 128, VocabularySize = 256, ContextLength = 256;
HybridDesignBuilder Builder(string name, FeedForwardSpec feedForward) => HybridDesign.Create(Width, VocabularySize)
    .WithAttention(heads: 4, keyValueHeads: 2).WithMamba2(stateSize: 16, headSize: 64).WithFeedForward(feedForward)
    .Depth(4).Ratio(attention: 1, ssm: 3).Place(Placement.Middle).Name(name);

HybridDesign dense = Builder("dense", FeedForwardSpec.SwiGlu(256)).Build();
HybridDesign experts = Builder(
    "8 experts", FeedForwardSpec.MixtureOfExperts(
    experts: 8, expertsPerToken: 1, expertWidth: 128, sharedExperts: 1, balance: ExpertBalance.BiasUpdate)).Build();

var corpus = DocumentationCorpus.Load();
using var training = TokenDataset.FromBytes(corpus.Training);
using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
// the best peak learning rate for both designs out of 1.5e-3, 3e-3, 6e-3 and 1.2e-2, each tried in a whole run (see README.md)
const double Rate = 3e-3;
foreach (var design in new[] { experts, dense })
{
    var count = design.CountParameters();
    Console.WriteLine($"{design.Name}: {design.Pattern}, {count.Total:N0} parameters, {count.Active:N0} active for a token, "
        + $"{design.Cost(ContextLength).Flops(FlopAccounting.MatrixProducts).Training / 1e6:f1} MFLOP a token in training, peak rate {Rate:0.##e-0}");
    using var model = design.CreateModel(seed: 1);
    if (design == experts) Console.WriteLine($"  share of visits of each expert in block 2 before training: {Shares(model)}");
    using var trainer = new Trainer(model, training, new TrainingOptions
    {
        LearningRate = Rate, ContextLength = ContextLength, BatchSize = 4, Duration = Duration.Steps(300),
        Schedule = new TrapezoidSchedule { WarmUp = 0.05, CoolDown = 0.4 }, Seed = 1,
    });
    var result = trainer.Run();
    var measured = Evaluator.Evaluate(model, heldOut, ContextLength, rows: 16, tokens: 131_072);
    Console.WriteLine($"  {measured.BitsPerByte:f3} bits per byte held out, after {result.Tokens / 1000} kB in {result.Elapsed.TotalSeconds:f0} s");
    if (design == experts) Console.WriteLine($"  share of visits of each expert in block 2 after training:  {Shares(model)}");
}

// returns the experts that the router of the second block selects for held-out text
string Shares(HybridLanguageModel model)
{
    using var scope = NewDisposeScope();
    using var noGrad = no_grad();
    var sampler = new WindowSampler(heldOut, ContextLength, shuffle: false);
    using var batch = sampler.Next(rows: 16);
    using var context = new SequenceContext { KeepsRouting = true };
    model.Hidden(batch.Ids, context);
    var visits = context.Routing.Single(record => record.Block == 1).Chosen.flatten().bincount(null, 8).to(float32);
    return string.Join("  ", (visits / visits.sum()).data<float>().Select(share => $"{share:p0}"));
}
