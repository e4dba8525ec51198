using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

public class DesignDiffTests
{
    static readonly HybridDesign design = HybridDesign.Create(64, 256).WithAttention(8, 2).WithMamba2(stateSize: 16)
        .WithFeedForward(FeedForwardSpec.SwiGlu(128)).Pattern("MMTMMT").Build();

    static string[] Lines(HybridDesign other) => [.. design.Diff(other).Select(difference => difference.ToString())];

    static HybridDesign Change(Func<BlockSpec, BlockSpec> change, params int[] positions) =>
        design with { Blocks = [.. design.Blocks.Select((block, index) => positions.Contains(index + 1) ? change(block) : block)] };

    [Fact]
    public void Equal_designs_do_not_differ() => Assert.Empty(Lines(design with { }));

    [Fact]
    public void Differences_of_the_design_itself_are_named() =>
        Assert.Equal(["name: none -> other", "vocabularySize: 256 -> 512", "tiedHead: true -> false",
            "initialisation.standardDeviation: 0.02 -> 0.01"],
            Lines(design with { Name = "other", VocabularySize = 512, TiedHead = false, Initialisation = new() { StandardDeviation = 0.01 } }));

    [Fact]
    public void The_same_difference_in_several_blocks_is_one_line() =>
        Assert.Equal(["blocks 1-2, 4: mixer.stateSize: 16 -> 32"],
            Lines(Change(block => block with { Mixer = (Mamba2Spec)block.Mixer! with { StateSize = 32 } }, 1, 2, 4)));

    [Fact]
    public void Another_kind_is_one_line_and_not_all_its_numbers() =>
        Assert.Equal(["block 3: mixer: attention -> mamba2", "block 3: feedForward: swiGlu -> none"],
            Lines(Change(_ => design.Blocks[0] with { FeedForward = FeedForwardSpec.None }, 3)));

    [Fact]
    public void Properties_that_one_side_lacks_are_reported()
    {
        Assert.Equal(["block 3: mixer.window: none -> 16", "block 3: mixer.rotary.theta: 500000 -> 10000"],
            Lines(Change(block => block with { Mixer = (AttentionSpec)block.Mixer! with { Window = 16, Rotary = new() { Theta = 10_000 } } }, 3)));
        Assert.Equal(["block 6: block: T -> absent"], Lines(design with { Blocks = [.. design.Blocks.SkipLast(1)] }));
        Assert.Equal(["blocks 7-8: block: absent -> M"], Lines(design with { Blocks = [.. design.Blocks, design.Blocks[0], design.Blocks[0]] }));
        Assert.StartsWith("block 3: mixer.rotary: {",
            Assert.Single(Lines(Change(block => block with { Mixer = (AttentionSpec)block.Mixer! with { Rotary = null } }, 3))));
    }
}
