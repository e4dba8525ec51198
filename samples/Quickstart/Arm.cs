using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;

namespace Quickstart;

/// <summary>Describes one of the compared models.</summary>
/// <param name="Name">The name on the console and in the report.</param>
/// <param name="Folder">The folder of its checkpoints.</param>
/// <param name="Design">The design of the model.</param>
/// <param name="Trials">The bits per byte of held-out text after runs of 700 steps at several learning rates (see README.md).</param>
sealed record Arm(string Name, string Folder, HybridDesign Design, RateTrials Trials)
{
    const int Width = 128, VocabularySize = 256;

    /// <summary>Describes how the learning rates were chosen.</summary>
    public const string RateRule = "the best for the design in whole runs of 700 steps at 1e-3, 2e-3, 3e-3, 4e-3 and 6e-3";

    /// <summary>Gets a small hybrid with the paper's ratio 1:5, and both pure designs with the same number of parameters.</summary>
    public static IReadOnlyList<Arm> All { get; } = MakeAll();

    /// <summary>Gets the peak learning rate that is best for this design. A common rate would favour one of the designs.</summary>
    public double Rate => Trials.Best;

    static HybridDesignBuilder Builder(int feedForward) => HybridDesign.Create(Width, VocabularySize)
        .WithAttention(heads: 4, keyValueHeads: 2)
        .WithMamba2(stateSize: 32, headSize: 64)
        .WithFeedForward(FeedForwardSpec.SwiGlu(feedForward));

    static Arm[] MakeAll()
    {
        var hybrid = Builder(256).Depth(6).Ratio(attention: 1, ssm: 5).Place(Placement.Middle).Name("Hybrid 1:5").Build();
        return
        [
            new Arm("Hybrid 1:5", "hybrid", hybrid,
                [new(1e-3, 1.572), new(2e-3, 1.568), new(3e-3, 1.5555), new(4e-3, 1.5556), new(6e-3, 1.584)]),
            new Arm("Transformer", "transformer", Matched("Transformer", "T", 8, hybrid),
                [new(1e-3, 1.922), new(2e-3, 1.860), new(3e-3, 1.850), new(4e-3, 1.856), new(6e-3, 1.939)]),
            new Arm("Mamba-2", "mamba2", Matched("Mamba-2", "M", 6, hybrid),
                [new(1e-3, 1.586), new(2e-3, 1.565), new(3e-3, 1.564), new(4e-3, 1.569), new(6e-3, 1.577)]),
        ];
    }

    // blocks of one kind, with the feed-forward width (a multiple of 8) whose number of parameters is nearest
    static HybridDesign Matched(string name, string kind, int depth, HybridDesign target) =>
        Enumerable.Range(4, 128).Select(eighths => Builder(8 * eighths).Pattern(kind, depth).Name(name).Build())
            .MinBy(design => Math.Abs(design.CountParameters().Total - target.CountParameters().Total))!;
}
