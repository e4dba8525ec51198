using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

public class BuilderTests
{
    static HybridDesignBuilder Small => HybridDesign.Create(width: 64, vocabularySize: 256).WithFeedForward(FeedForwardSpec.SwiGlu(128));

    static HybridDesignBuilder Hybrid => Small.WithAttention(heads: 8, keyValueHeads: 2).WithMamba2(stateSize: 16, headSize: 16);

    [Fact]
    public void The_hybrid_of_the_front_page_is_built_as_written()
    {
        var design = HybridDesign.Create(width: 2048, vocabularySize: 128_256)
            .WithAttention(heads: 32, keyValueHeads: 8)
            .WithMamba2(stateSize: 128, headSize: 128)
            .WithFeedForward(FeedForwardSpec.SwiGlu(8192))
            .Depth(13).Ratio(attention: 1, ssm: 5).Place(Placement.Middle)
            .Build();
        Assert.Equal("MMMMTMMMTMMMM", design.Pattern);
        Assert.Equal(new AttentionSpec { Heads = 32, KeyValueHeads = 8, HeadSize = 64, ValueHeadSize = 64, Rotary = new() { Theta = 500_000 } },
            design.Blocks[4].Mixer);
        Assert.Equal(new Mamba2Spec { Heads = 32, HeadSize = 128, StateSize = 128, NormGroups = 1 }, design.Blocks[0].Mixer);
        Assert.All(design.Blocks, block => Assert.Equal(new SwiGluSpec(8192), block.FeedForward));
        Assert.Equal(958_935_840, design.CountParameters().NonEmbedding);
    }

    [Fact]
    public void Sizes_left_out_follow_from_the_width()
    {
        Assert.Equal(new Mamba1Spec { InnerWidth = 200, StateSize = 16, TimeStepRank = 7 }, new Mamba1Spec().Resolve(100));
        Assert.Equal(new Mamba2Spec { Heads = 4, HeadSize = 64, StateSize = 128, NormGroups = 1 }, new Mamba2Spec().Resolve(128));
        Assert.Equal(new Mamba2Spec { Heads = 8, HeadSize = 32, StateSize = 128, NormGroups = 1 }, new Mamba2Spec { Heads = 8 }.Resolve(128));
        Assert.Equal(new AttentionSpec { Heads = 4, KeyValueHeads = 4, HeadSize = 32, ValueHeadSize = 32 },
            new AttentionSpec { Heads = 4 }.Resolve(128));
        Assert.Equal(new AttentionSpec { Heads = 4, KeyValueHeads = 2, HeadSize = 10, ValueHeadSize = 10 },
            new AttentionSpec { Heads = 4, KeyValueHeads = 2, HeadSize = 10 }.Resolve(128));
        var intra = (IntraHybridSpec)new IntraHybridSpec { Attention = new() { Heads = 4 }, StateSpace = new Mamba2Spec { Heads = 4 } }.Resolve(128);
        Assert.Equal((64, 128, 128), (intra.Attention.QueryWidth, intra.Attention.OutputWidth, intra.InnerWidth));
        var shared = (IntraHybridSpec)new IntraHybridSpec { Attention = new() { Heads = 4, KeyValueHeads = 2 },
            StateSpace = new Mamba2Spec { Heads = 4 }, SharedValues = true }.Resolve(128);
        Assert.Equal(128, shared.Attention.ValueWidth);
        Assert.Equal(FeedForwardSpec.MixtureOfExperts(4, 1, 32, 2, 64), FeedForwardSpec.MixtureOfExperts(4, 1, 32, 2).Resolve(128));
    }

    [Fact]
    public void A_builder_branches_off_into_variants()
    {
        var start = Hybrid.Depth(8);
        var (first, second) = (start.Ratio(1, 1), start.Ratio(1, 3));
        Assert.Equal("MTMTTMTM", first.Build().Pattern);
        Assert.Equal("MMTMMTMM", second.Build().Pattern);
        Assert.Equal("TTTTTTTT", start.Ratio(1, 0).Build().Pattern);
        Assert.Equal("MMMMMMMM", start.Ratio(0, 1).Build().Pattern);
    }

    [Fact]
    public void A_ratio_is_between_any_two_kinds()
    {
        Assert.Equal("SSTSSTSS", Small.WithAttention(8, 2).WithSlidingWindow(16, 2).Depth(8).Ratio(1, 3).Build().Pattern);
        Assert.Equal("MMSMMSMM", Small.WithMamba2(16).WithSlidingWindow(16, heads: 8).Depth(8).Ratio(1, 3).Build().Pattern);
        Assert.Equal("MMHMMHMM", Small.WithMamba2(16).WithIntraHybrid(new() { Heads = 4 }, new Mamba1Spec()).Depth(8).Ratio(1, 3).Build().Pattern);
        Assert.Equal("mmTmmTmm", Small.WithMamba1().WithAttention(8).Depth(8).Ratio(1, 3).Build().Pattern);
        Assert.Equal("MMXMMXMM", Small.WithMixer(new ShiftSpec(1)).WithMamba2(16).Depth(8).Ratio(1, 3).Build().Pattern);
        Assert.Equal("XXTXXTXX", Small.WithMixer(new ShiftSpec(1)).WithAttention(8).Depth(8).Ratio(1, 3).Build().Pattern);
        Assert.Equal("MMmMMmMM", Small.WithMamba1().WithMamba2(16).WithAttention(8).Depth(8).Ratio("m", 1, "M", 3).Build().Pattern);
        Assert.Equal("TTMTTMTT", Hybrid.Depth(8).Ratio("M", 1, "T", 3).Build().Pattern);
        Assert.Equal("XX", Small.WithMixer(new ShiftSpec(1)).Depth(2).Build().Pattern);
    }

    [Fact]
    public void Explicit_positions_need_no_ratio_and_no_order()
    {
        Assert.Equal("MMMTMMMTMMMMM", Hybrid.Depth(13).Place(8, 4).Build().Pattern);
        Assert.Equal("MMMTMMMTMMMMM", Hybrid.Depth(13).Ratio(1, 5).Place(4, 8).Build().Pattern);
    }

    [Fact]
    public void The_sliding_window_takes_its_heads_from_attention()
    {
        var design = Small.WithSlidingWindow(window: 16, sinks: 2).WithAttention(heads: 8, keyValueHeads: 2, qkNorm: true).Pattern("ST").Build();
        var (sliding, full) = ((AttentionSpec)design.Blocks[0].Mixer!, (AttentionSpec)design.Blocks[1].Mixer!);
        Assert.Equal(full with { Window = 16, Sinks = 2, Rotary = new() { Theta = 10_000 } }, sliding);
    }

    [Fact]
    public void None_means_no_rotary_positions()
    {
        Assert.Null(((AttentionSpec)Small.WithAttention(8, rotary: RotarySpec.None).Depth(1).Build().Blocks[0].Mixer!).Rotary);
        Assert.NotNull(((AttentionSpec)Small.WithAttention(8).Depth(1).Build().Blocks[0].Mixer!).Rotary);
    }

    [Fact]
    public void A_pattern_repeats_and_marks_feed_forwards()
    {
        var experts = FeedForwardSpec.MixtureOfExperts(4, 2, 32);
        var design = Hybrid.WithExperts(experts).Pattern("MMe T~ -", repeat: 2).Build();
        Assert.Equal("MMeT~-MMeT~-", design.Pattern);
        Assert.Equal([new SwiGluSpec(128), experts, FeedForwardSpec.None, new SwiGluSpec(128)],
            design.Blocks.Take(4).Select(block => block.FeedForward));
        Assert.Null(design.Blocks[3].Mixer);
        Assert.Equal("MT", Hybrid.WithFeedForward(experts).Pattern("MeTe").Build().Pattern);       // one kind of feed-forward needs no mark
    }

    [Fact]
    public void Overrides_change_single_blocks_with_their_numbers_filled_in()
    {
        var design = Hybrid.Depth(4).Ratio(1, 3)
            .Override(1, block => block with { FeedForward = FeedForwardSpec.SwiGlu(((SwiGluSpec)block.FeedForward).Width * 2) })
            .Override(3, block => block with { Mixer = (AttentionSpec)block.Mixer! with { HeadSize = 16 } })
            .Override(3, block => block with { NormEpsilon = 1e-6 })
            .Build();
        Assert.Equal("MMTM", design.Pattern);
        Assert.Equal(new SwiGluSpec(256), design.Blocks[0].FeedForward);
        Assert.Equal((16, 8), (((AttentionSpec)design.Blocks[2].Mixer!).HeadSize, ((AttentionSpec)design.Blocks[2].Mixer!).ValueHeadSize));
        Assert.Equal(1e-6, design.Blocks[2].NormEpsilon);
        Assert.Equal(1e-5, design.Blocks[0].NormEpsilon);
    }

    [Fact]
    public void Everything_else_is_carried_over()
    {
        var initialisation = new InitialisationSpec { StandardDeviation = 0.01, Residual = ResidualScaling.Depth };
        var design = Hybrid.Name("mine").TiedHead(false).NormEpsilon(1e-6).WithInitialisation(initialisation).Depth(2).Ratio(1, 1).Build();
        Assert.Equal(("mine", false, 1e-6, 1e-6, initialisation),
            (design.Name, design.TiedHead, design.NormEpsilon, design.Blocks[0].NormEpsilon, design.Initialisation));
        Assert.Equal("mine: width 64, vocabulary 256, 2 blocks MT", design.ToString());
    }

    [Fact]
    public void Designs_built_the_same_way_are_equal_and_others_are_not()
    {
        static HybridDesign Build() =>
            Hybrid.WithIntraHybrid(new() { Heads = 4 }, new Mamba2Spec { HeadSize = 16 }).Pattern("MTH", repeat: 3).Build();
        var design = Build();
        Assert.Equal(design, Build());
        Assert.Equal(design.GetHashCode(), Build().GetHashCode());
        Assert.NotEqual(design, design with { VocabularySize = 257 });
        Assert.NotEqual(design, design with { Blocks = design.Blocks.With(8, design.Blocks[7]) });
        Assert.NotEqual(design, design with { Blocks = [.. design.Blocks.SkipLast(1)] });
    }

    [Fact]
    public void The_words_of_a_ratio_pick_their_kinds_among_more_than_two()
    {
        var start = HybridDesign.Create(64, 256).WithAttention(4).WithMamba2(16, 16).Depth(4);
        string Pattern(HybridDesignBuilder builder) => builder.WithFeedForward(FeedForwardSpec.SwiGlu(32)).Build().Pattern;
        Assert.Equal("MMTM", Pattern(start.WithSlidingWindow(8).Ratio(attention: 1, ssm: 3)));
        Assert.Equal("MMTM", Pattern(start.WithMixer(new ShiftSpec(1)).WithSlidingWindow(8).Ratio(attention: 1, ssm: 3)));
        Assert.Equal("MMTM", Pattern(start.WithMixer(new ShortConvolutionSpec()).Ratio(attention: 1, ssm: 3)));
        // a side without blocks need not be clear
        Assert.Equal("TTTT", Pattern(start.WithMamba1().Ratio(attention: 1, ssm: 0)));
        var windows = HybridDesign.Create(64, 256).WithSlidingWindow(8, heads: 4).WithMamba1().WithMixer(new ShiftSpec(1)).Depth(4);
        Assert.Equal("mmSm", Pattern(windows.Ratio(attention: 1, ssm: 3)));
        // the kind that is no attention, where there is no Mamba
        Assert.Equal("XXTX", Pattern(HybridDesign.Create(64, 256).WithAttention(4).WithSlidingWindow(8).WithMixer(new ShiftSpec(1)).Depth(4)
            .Ratio(attention: 1, ssm: 3)));
    }

    [Fact]
    public void Full_attention_is_replaced_in_one_call_and_windows_stay()
    {
        var start = HybridDesign.Create(64, 100).WithAttention(4, 2).WithSlidingWindow(8, 2).WithMamba2(16, 16)
            .WithFeedForward(FeedForwardSpec.SwiGlu(8)).Pattern("MTST");
        Assert.Equal("MCSC", start.ReplaceAttention(new ShortConvolutionSpec()).Build().Pattern);
        var linear = start.ReplaceAttention(new GatedLinearAttentionSpec { Heads = 4 }).Override(4, block => block with { Mixer = null }).Build();
        Assert.Equal("MgS-", linear.Pattern);
        Assert.Equal(8, ((GatedLinearAttentionSpec)linear.Blocks[1].Mixer!).KeyHeadSize);
        Assert.Throws<ArgumentNullException>("mixer", () => start.ReplaceAttention(null!));
    }

    [Fact]
    public void Positions_of_full_attention_are_removed_in_one_call_and_those_of_windows_stay()
    {
        var latent = new LatentAttentionSpec { Heads = 4, KeyValueRank = 12, Rotary = new() };
        var design = HybridDesign.Create(64, 100).WithAttention(4, 2).WithSlidingWindow(8, 2).WithMamba2(16, 16).WithMixer(latent)
            .WithIntraHybrid(new AttentionSpec { Heads = 4, HeadSize = 16, ValueHeadSize = 16, Rotary = new() },
                new Mamba2Spec { StateSize = 16, Heads = 4, HeadSize = 16 }).Pattern("MTSAH").WithoutPositions().Build();
        Assert.Null(((AttentionSpec)design.Blocks[1].Mixer!).Rotary);
        Assert.NotNull(((AttentionSpec)design.Blocks[2].Mixer!).Rotary);
        Assert.Null(((LatentAttentionSpec)design.Blocks[3].Mixer!).Rotary);
        Assert.Null(((IntraHybridSpec)design.Blocks[4].Mixer!).Attention.Rotary);
    }
}
