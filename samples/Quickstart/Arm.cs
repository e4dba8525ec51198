using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;

namespace Quickstart;

/// <summary>One of the models that are compared.</summary>
sealed record Arm(string Name, string Folder, HybridDesign Design)
{
    const int Width = 128, Vocabulary = 256;

    /// <summary>The hybrid of the paper's ratio 1:5 in small, and beside it both pure designs, their depth or feed-forward chosen for the same number of parameters.</summary>
    public static IReadOnlyList<Arm> All { get; } = MakeAll();

    static HybridDesignBuilder Builder(int feedForward) => HybridStack.Design(Width, Vocabulary)
        .WithAttention(heads: 4, keyValueHeads: 2)
        .WithMamba2(stateSize: 32, headSize: 64)
        .WithFeedForward(FeedForwardSpec.SwiGlu(feedForward));

    static Arm[] MakeAll()
    {
        var hybrid = Builder(256).Depth(6).Ratio(attention: 1, ssm: 5).Place(Placement.Middle).Name("Hybrid 1:5").Build();
        return
        [
            new Arm("Hybrid 1:5", "hybrid", hybrid),
            new Arm("Transformer", "transformer", Matched("Transformer", "T", 8, hybrid)),
            new Arm("Mamba-2", "mamba2", Matched("Mamba-2", "M", 6, hybrid)),
        ];
    }

    // blocks of one kind, with the feed-forward width, in steps of 8, that comes nearest in parameters
    static HybridDesign Matched(string name, string kind, int depth, HybridDesign target) =>
        Enumerable.Range(4, 128).Select(eighths => Builder(8 * eighths).Pattern(kind, depth).Name(name).Build())
            .MinBy(design => Math.Abs(design.CountParameters().Total - target.CountParameters().Total))!;
}
