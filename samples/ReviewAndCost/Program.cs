using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Review;

SampleConsole.Prepare();

// Computes the cost of designs and reviews them. Nothing is trained or downloaded.

// 1. A published model: Nemotron-H-8B-Base from the pattern and the sizes of its config.json
//    (huggingface.co/nvidia/Nemotron-H-8B-Base-8K: 52 residual layers, M Mamba-2, * attention, - feed-forward)
const string Pattern = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-";
HybridDesign published = HybridDesign.Create(width: 4096, vocabularySize: 131_072)
    .WithMamba2(new Mamba2Spec { Heads = 128, HeadSize = 64, StateSize = 128, Groups = 8, NormGroups = 8 })
    .WithAttention(new AttentionSpec { Heads = 32, KeyValueHeads = 8, HeadSize = 128 })
    .WithFeedForward(FeedForwardSpec.Mlp(21_504, Activation.ReluSquared))
    .Blocks(MegatronPattern.Parse(Pattern)).TiedHead(false).Name("Nemotron-H-8B").Build();
Console.WriteLine($"{published.Name}: {published.CountParameters()}");

// 2. The same costs for a Transformer with the same number of parameters
HybridDesign transformer = HybridDesign.Create(4096, 131_072)
    .WithAttention(new AttentionSpec { Heads = 32, KeyValueHeads = 8, HeadSize = 128, Rotary = new RotarySpec() })
    .WithFeedForward(FeedForwardSpec.SwiGlu(14_336)).Pattern("T", repeat: 32).TiedHead(false).Name("Transformer").Build();
transformer = DesignSolver.ByFeedForward(transformer, DesignMeasure.Parameters, of: published).Design;
var accelerator = Accelerator.Get("H200");
Console.WriteLine(
    $"\n{"",-15}{"context",9}{"training",14}{"decode step",14}{"cache, 1 row",15}{"least time of a step on " + accelerator.Name + ", 16 rows",44}");
foreach (int context in new[] { 8_192, 131_072, 1_048_576 })
    foreach (var design in new[] { published, transformer })
    {
        var cost = design.Cost(context);
        Console.WriteLine(
            $"{design.Name,-15}{context,9:N0}{cost.Flops().Training / 1e9,7:N1} GFLOP/t{cost.StepFlops().Forward / 1e9,8:N1} "
            + $"GFLOP{cost.Cache().Total / 1048576.0,11:N0} MiB{cost.Decode(accelerator, batch: 16).Seconds * 1e3,41:N1} ms");
    }

// 3. Review findings of a draft, with sources and remedies
HybridDesign draft = HybridDesign.Create(width: 2048, vocabularySize: 128_256)
    .WithIntraHybrid(new IntraHybridSpec
    {
        Attention = new AttentionSpec { Heads = 16, KeyValueHeads = 4, HeadSize = 32, Rotary = new RotarySpec() },
        StateSpace = new Mamba2Spec { Heads = 32, HeadSize = 64, StateSize = 128, GatedNorm = false },
        Norm = BranchNorm.None, LearnedScale = true, Fusion = FusionKind.Difference,
    })
    .WithMamba2(stateSize: 128, headSize: 64).WithFeedForward(FeedForwardSpec.SwiGlu(8192))
    .Pattern("HMMMMMMMMMMH").Name("A first draft").Build();
var review = draft.Review(new ReviewOptions { MaxContextLength = 131_072 });
Console.WriteLine($"\n{draft.Name}, {draft.Pattern}:\n{review}");

// 4. The safe remedies applied, and their effect
HybridDesign cured = review.Fixed();
Console.WriteLine($"\nafter the safe remedies, {cured.Pattern}:\n{cured.Review(new ReviewOptions { MaxContextLength = 131_072 })}");
Console.WriteLine($"\n{cured.Explain(sequenceLength: 8192)}");

string folder = Path.Combine("runs", "review-and-cost");
Directory.CreateDirectory(folder);
DesignStrip.WriteSvg(Path.Combine(folder, "nemotron-h-8b.svg"), published, sequenceLength: 131_072);
DesignStrip.WriteSvg(Path.Combine(folder, "cured.svg"), cured, sequenceLength: 8192);
Console.WriteLine($"pictures: {folder}");
