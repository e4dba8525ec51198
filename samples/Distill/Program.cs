// Trains a Transformer, replaces six of its eight attention layers by Mamba-2, and teaches the hybrid what the Transformer predicts, with 20 % of the
// Transformer's tokens. The same hybrid, trained from scratch with as many tokens, is the comparison.
//   dotnet run -c Release --project samples/Distill
//   dotnet run -c Release --project samples/Distill -- gated-delta         another mixer; the default is mamba2
// Ctrl-C stops after the current step, and the same command continues.
using Distill;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conversion;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Conversion;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

SampleConsole.Prepare();
const int TeacherSteps = 1000, MatchingSteps = 59, DistillationSteps = 140, AttentionLayers = 2;
string mixerName = args.Length > 0 ? args[0] : "mamba2";
Func<AttentionSpec, MixerSpec>? mixer = mixerName switch
{
    "mamba2" => ConvertedMixers.Mamba2,
    "gated-delta" => ConvertedMixers.GatedDelta,
    "kimi-delta" => ConvertedMixers.KimiDelta,
    "lightning" => ConvertedMixers.LightningAttention,
    "rwkv7" => ConvertedMixers.Rwkv7,
    _ => null,
};
if (mixer is null)
{
    Console.Error.WriteLine($"the mixer is '{mixerName}'; expected mamba2, gated-delta, kimi-delta, lightning or rwkv7.");
    return 2;
}

var corpus = DocumentationCorpus.Load(heldOutShare: 0.03);
using var all = TokenDataset.FromBytes(corpus.Training);
using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
// layers are chosen on text that is neither trained on nor measured
var (training, validation) = all.Split(heldOutShare: 0.02);
using var signals = new StopSignals(report: Console.Error.WriteLine);
var stages = new Stages(Path.Combine("runs", "distill"), training, signals.Token);

try
{
    var design = HybridDesign.Create(width: 128, vocabularySize: 256).WithAttention(heads: 4, keyValueHeads: 2)
        .WithFeedForward(FeedForwardSpec.SwiGlu(256)).Depth(8).Name("Transformer").Build();
    using var teacher = stages.Run("teacher", () => design.CreateModel(seed: 1),
        Stages.Options(TeacherSteps, rate: 3e-3) with { Schedule = new TrapezoidSchedule { WarmUp = 0.1, CoolDown = 0.4 } });
    var table = new LossTable(heldOut, TeacherSteps * Stages.TokensPerStep);
    table.Add("Transformer (teacher)", teacher, TeacherSteps * Stages.TokensPerStep);

    // 1. Which layers matter least?
    var importance = ImportanceScan.Run(teacher, validation, new()
    {
        ContextLength = Stages.ContextLength, Rows = 16, Tokens = 16_384, Window = 16, File = Path.Combine("runs", "distill", "importance.json"),
    }, cancellation: signals.Token);
    Console.WriteLine(importance.ToTable());
    var layers = importance.ChooseLayers(design.Depth - AttentionLayers);

    // 2. A hybrid of 1:3 that keeps the weights
    var hybridDesign = design.Convert(layers, mixer) with { Name = "Hybrid 1:3" };
    using var batch = training.OpenReader(new(Stages.ContextLength, Seed: 4)).ReadBatch(Stages.Rows);
    var statistics = AttentionStatistics.Measure(teacher, batch.Ids);
    using var converted = teacher.Convert(hybridDesign, new() { Seed = 1, Statistics = statistics });
    Console.WriteLine($"{hybridDesign.Pattern}: {converted.Report}");
    long used = Stages.TokensPerStep;
    table.Add("hybrid, converted", converted.Model, used);

    // 3. Each new layer learns the output of the old one
    using var matched = stages.Run($"{mixerName}-matched", () => converted.Model.Copy(converted.Model.WeightType),
        Stages.Options(MatchingSteps, rate: 3e-3), new LayerMatching(teacher));
    used += MatchingSteps * Stages.TokensPerStep;
    table.Add("hybrid, layers matched", matched, used);

    // 4. The hybrid learns what the teacher predicts
    using var distilled = stages.Run($"{mixerName}-distilled", () => matched.Copy(matched.WeightType), Stages.Options(DistillationSteps, rate: 1e-3),
        new Distillation(teacher, share: 0.5));
    used += DistillationSteps * Stages.TokensPerStep;
    table.Add("hybrid, distilled", distilled, used);

    using var scratch = stages.Run($"{mixerName}-scratch", () => hybridDesign.CreateModel(seed: 1),
        Stages.Options(used / Stages.TokensPerStep, rate: 3e-3) with { Schedule = new TrapezoidSchedule { WarmUp = 0.1, CoolDown = 0.4 } });
    table.Add("the same hybrid from scratch", scratch, used);
    Console.WriteLine(table);
    return 0;
}
catch (OperationCanceledException)
{
    Console.WriteLine("stopped; the same command continues");
    return signals.ExitCode;
}
