using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Review;

namespace HybridArchitectures.Tests.Design;

public class SharedTransformerTests
{
    static readonly SharedTransformerSpec transformer =
        new() { Attention = new() { Heads = 4, Rotary = new() }, FeedForward = FeedForwardSpec.SwiGlu(96) };

    static HybridDesignBuilder Start => HybridDesign.Create(32, 100).WithMamba2(stateSize: 16, headSize: 8);

    static HybridDesign Hybrid =>
        Start.WithSharedTransformers(transformer, 2, attentionAdapterRank: 3, feedForwardAdapterRank: 5).Pattern("MM+M+MM+").Build();

    [Fact]
    public void Marked_blocks_use_the_transformers_in_turn()
    {
        Assert.Equal([null, 0, 1, null, 0], Hybrid.Blocks.Select(block => block.Shared?.Transformer));
        Assert.Equal("M~M+~M+~M~M+~", Hybrid.Pattern);
        // of an input of 64
        Assert.Equal((16, 4), (Hybrid.SharedTransformers[0].Attention.HeadSize, Hybrid.SharedTransformers[1].Attention.KeyValueHeads));
        Assert.Equal(Hybrid, HybridDesign.FromJson(Hybrid.ToJson()));
    }

    [Fact]
    public void Shared_weights_count_once_and_work_at_every_use()
    {
        var (count, plain) = (Hybrid.CountParameters(), Start.Pattern("MMMMM").Build().CountParameters());
        long once = 64 + 3 * 64 * 64 + 64 * 32 + 32 + 3 * 32 * 96, use = 3 * 3 * (64 + 64) + 5 * (32 + 2 * 96) + 32 * 32;
        Assert.Equal((once, use), (Hybrid.SharedTransformers[0].CountParameters(32), count.Blocks[1].SharedUse));
        Assert.Equal(plain.Total + 2 * once + 3 * use, count.Total);
        Assert.Equal(count.Total, count.Active);
        Assert.Equal(2 * once + 3 * use, count.ByPart["shared transformers"]);
        Assert.Equal(count.Total, count.ByPart.Values.Sum());
        var flops = FlopCount.OfStep(Hybrid, 9);
        Assert.Equal(2.0 * (once + use) + 2 * (64 + 64) * 10, flops.Blocks[4].Shared);
        Assert.Equal(3 * flops.Blocks[4].Shared, flops.Forward - FlopCount.OfStep(Start.Pattern("MMMMM").Build(), 9).Forward, 1e-6);
        Assert.Equal(3 * 10 * 2 * 64 * 2, CacheSize.FromDesign(Hybrid, 10).KeysAndValues);
    }

    [Fact]
    public void Differences_in_use_and_in_the_used_parts_are_named()
    {
        var other = Hybrid with
        {
            Blocks = Hybrid.Blocks.With(4, Hybrid.Blocks[4] with { Shared = Hybrid.Blocks[4].Shared! with { Transformer = 1 } }),
            SharedTransformers = Hybrid.SharedTransformers.With(0, Hybrid.SharedTransformers[0] with { NormEpsilon = 1e-3 }),
        };
        var lines = Hybrid.Diff(other).Select(difference => difference.ToString()).ToList();
        Assert.Contains("block 5: shared.transformer: 0 -> 1", lines);
        Assert.Contains("sharedTransformers[0].normEpsilon: 1E-05 -> 0.001", lines);
        Assert.Equal(2, lines.Count);
        var fewer = Hybrid with { SharedTransformers = [], Blocks = [.. Hybrid.Blocks.Select(block => block with { Shared = null })] };
        Assert.Contains(Hybrid.Diff(fewer), difference => difference.Path == "sharedTransformers[1]" && difference.Right == "absent");
    }

    [Fact]
    public void Uses_that_cannot_be_are_refused_with_the_reason()
    {
        string Refusal(Func<HybridDesign> make) => Assert.Throws<ArgumentException>(() => make().Resolve()).Message;
        Assert.Contains("block 5: shared: transformer is 2; expected 0 to 1",
            Refusal(() => Hybrid with { Blocks = Hybrid.Blocks.With(4, Hybrid.Blocks[4] with { Shared = new() { Transformer = 2 } }) }));
        Assert.Contains("expected none, because the design has no shared transformers", Refusal(() => Hybrid with { SharedTransformers = [] }));
        Assert.Contains("in a block without a mixer",
            Refusal(() => Hybrid with { Blocks = [new() { FeedForward = FeedForwardSpec.SwiGlu(4), Shared = new() }] }));
        Assert.Contains("shared transformer 1: attention: keyValueHeads is 3", Refusal(() => Hybrid with
        {
            SharedTransformers = Hybrid.SharedTransformers.With(1, transformer with { Attention = new() { Heads = 4, KeyValueHeads = 3 } }),
        }));
        Assert.Contains("no '+' without shared transformers", Refusal(() => Start.Pattern("MM+").Build()));
        Assert.Contains("a block marked '+'", Refusal(() => Start.WithSharedTransformers(transformer).Pattern("MM").Build()));
        Assert.Contains("Megatron cannot express it",
            Assert.Throws<ArgumentException>(() => MegatronPattern.Print(BlockPattern.Parse("M~M+~"))).Message);
    }

    [Fact]
    public void A_shared_transformer_is_attention_to_the_review()
    {
        Assert.Contains(Start.Pattern("MMMM").Build().Review(), finding => finding.Rule == "no-attention");
        Assert.DoesNotContain(Hybrid.Review(new() { RecalledPairs = 1000 }), finding => finding.Rule is "no-attention" or "recall");
    }

    [Fact]
    public void The_explanation_names_uses_and_transformers()
    {
        string text = Hybrid.Explain(64);
        Assert.Contains("+ shared 1 (attention 4(4)x16)", text);
        Assert.Contains("shared transformer 1", text);
    }

    [Fact]
    public void Feed_forwards_of_shared_transformers_are_scaled_to_a_budget()
    {
        var target = Start.Pattern("MMMMMMMMMM").Build();
        var solved = DesignSolver.ByFeedForward(Hybrid, DesignMeasure.NonEmbeddingParameters, target, multiple: 1);
        Assert.InRange(Math.Abs(solved.Error), 0, 0.01);
        Assert.NotEqual(96, solved.Design.SharedTransformers[0].FeedForward.Width);
    }
}
