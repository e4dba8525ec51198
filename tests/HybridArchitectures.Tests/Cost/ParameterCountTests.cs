using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Tests.Cost;

public class ParameterCountTests
{
    static readonly RotarySpec llama = new() { Scaling = new Llama3RotaryScaling(32, 1, 4, 8192) };

    // models whose weights are public, with the number of parameters in their checkpoints
    public static TheoryData<string, long> Published => new()
    {
        { "Llama-3.2-1B", 1_235_814_400 },
        { "Qwen2-0.5B", 494_032_768 },
        { "Qwen3-0.6B", 596_049_920 },
        { "Mixtral-8x7B", 46_702_792_704 },
        { "mamba-130m", 129_135_360 },
        { "mamba2-130m", 128_989_632 },
        { "Falcon-H1-0.5B", 521_411_104 },
        { "Jamba-v0.1", 51_570_323_328 },
        { "Qwen3-Next-80B-A3B", 79_674_391_296 },
        { "Zamba2-1.2B", 1_215_064_704 },
    };

    static (HybridDesign Design, long Elsewhere) Model(string name) => name switch
    {
        "Llama-3.2-1B" => (HybridDesign.Create(2048, 128_256).WithAttention(32, 8, rotary: llama).WithFeedForward(FeedForwardSpec.SwiGlu(8192))
            .Depth(16).Build(), 0),
        "Qwen2-0.5B" => (HybridDesign.Create(896, 151_936)
        .WithAttention(new AttentionSpec { Heads = 14, KeyValueHeads = 2, InputBias = true, Rotary = new() })
            .WithFeedForward(FeedForwardSpec.SwiGlu(4864)).Depth(24).Build(), 0),
        "Qwen3-0.6B" => (HybridDesign.Create(1024, 151_936).WithAttention(16, 8, headSize: 128, qkNorm: true)
        .WithFeedForward(FeedForwardSpec.SwiGlu(3072)).Depth(28).Build(), 0),
        "Mixtral-8x7B" => (HybridDesign.Create(4096, 32_000).WithAttention(32, 8)
            .WithFeedForward(FeedForwardSpec.MixtureOfExperts(8, 2, 14_336, score: RouterScore.Softmax, renormalize: true)).Depth(32).TiedHead(false)
            .Build(), 0),
        "mamba-130m" => (HybridDesign.Create(768, 50_280).WithMamba1().Depth(24).Build(), 0),
        "mamba2-130m" => (HybridDesign.Create(768, 50_288).WithMamba2().Depth(24).Build(), 0),
        "Falcon-H1-0.5B" => (HybridDesign.Create(1024, 32_784)
            .WithIntraHybrid(new AttentionSpec { Heads = 8, KeyValueHeads = 2, HeadSize = 64, ValueHeadSize = 64, Rotary = new() { Theta = 1e11 } },
                new Mamba2Spec { Heads = 24, HeadSize = 64, StateSize = 128, GatedNorm = false }, FusionKind.Add, BranchNorm.None)
            .WithFeedForward(FeedForwardSpec.SwiGlu(2048)).Depth(36).TiedHead(false).Build(), 0),
        "Zamba2-1.2B" => (HybridDesign.Create(2048, 32_000).WithMamba2(new Mamba2Spec { Heads = 64, HeadSize = 64, StateSize = 128 })
            .WithSharedTransformers(new() { Attention = new() { Heads = 32, Rotary = new() },
                FeedForward = new(8192) { Activation = Activation.Gelu } }, 1, 128, 128)
            .Pattern(string.Concat(Enumerable.Repeat("MMMMMM+", 6)) + "MM").Build(), 0),
        // without its head for multi-token prediction
        "Qwen3-Next-80B-A3B" => (HybridDesign.Create(2048, 151_936)
            .WithAttention(new AttentionSpec { Heads = 16, KeyValueHeads = 2, HeadSize = 256, QkNorm = true, OutputGate = true,
                Rotary = new() { Fraction = 0.25 } })
            .WithMixer(new GatedDeltaSpec { KeyHeads = 16, ValueHeads = 32, KeyHeadSize = 128 })
            .WithFeedForward(FeedForwardSpec.MixtureOfExperts(
            512, 10, 512, sharedExperts: 1, score: RouterScore.Softmax, renormalize: true) with { SharedGate = true })
            .Pattern("GGGT", repeat: 12).TiedHead(false).Build(), 0),
        // its Mamba-1 norms dt, B and C, which ours does not
        "Jamba-v0.1" => (HybridDesign.Create(4096, 65_536).WithAttention(32, 8, rotary: RotarySpec.None).WithMamba1()
            .WithFeedForward(FeedForwardSpec.SwiGlu(14_336))
            .WithExperts(FeedForwardSpec.MixtureOfExperts(16, 2, 14_336, score: RouterScore.Softmax, balance: ExpertBalance.AuxiliaryLoss))
            .Pattern("m me m me T me m me", repeat: 4).TiedHead(false).Build(), 28 * (256 + 16 + 16)),
        _ => throw new ArgumentException(name),
    };

    [Theory]
    [MemberData(nameof(Published))]
    public void A_published_model_has_as_many_parameters_as_its_checkpoint(string name, long parameters)
    {
        var (design, elsewhere) = Model(name);
        Assert.Equal(parameters, design.CountParameters().Total + elsewhere);
    }

    [Fact]
    public void Parts_and_blocks_add_up_to_the_total()
    {
        var design = Design.Designs.Everything;
        var count = design.CountParameters();
        Assert.Equal(count.Total, count.ByPart.Values.Sum());
        Assert.Equal(count.Total, count.Blocks.Sum(block => block.Total) + (2L * 512 * 64) + 64);
        Assert.Equal(["T", "T~", "Me", "m", "H~", "-"], count.Blocks.Select(block => block.Symbol.Replace('S', 'T')));
        Assert.Equal([1, 2, 3, 4, 5, 6], count.Blocks.Select(block => block.Position));
        Assert.Equal([128L, 64, 128, 128, 64, 64], count.Blocks.Select(block => block.Norms));
        Assert.Equal(0, count.Blocks[5].Mixer);
        Assert.Equal((512L * 64, 512L * 64), (count.Embedding, count.Head));
    }

    [Fact]
    public void A_tied_head_counts_once()
    {
        var tied = (Design.Designs.Everything with { TiedHead = true }).CountParameters();
        Assert.Equal(Design.Designs.Everything.CountParameters().Total - (512 * 64), tied.Total);
        Assert.Equal(0, tied.Head);
    }

    [Fact]
    public void Of_routed_experts_only_those_a_token_is_sent_to_are_active()
    {
        var count = Design.Designs.Everything.CountParameters();
        Assert.Equal(6L * 3 * 64 * 32, count.Total - count.Active);
        Assert.Equal(count.Active - count.Embedding - count.Head, count.ActiveNonEmbedding);
    }

    // width 64; attention 4 heads, 2 key-value heads, queries 8, values 16 (64 wide); Mamba-2 4 heads of 16 (64 wide), state 8, no gated norm
    [Theory]
    [InlineData(FusionKind.Difference, BranchNorm.Group, false, OutputProjection.Separate, false, 2 * 4096)]
    [InlineData(FusionKind.Add, BranchNorm.Rms, false, OutputProjection.Separate, false, (2 * 4096) + 128)]
    [InlineData(FusionKind.Add, BranchNorm.None, true, OutputProjection.Separate, false, (2 * 4096) + 128)]
    [InlineData(FusionKind.Gate, BranchNorm.None, false, OutputProjection.Separate, false, (2 * 4096) + 64)]
    [InlineData(FusionKind.Gate, BranchNorm.Rms, true, OutputProjection.Joint, false, 4096 + 64 + 128 + 128)]
    [InlineData(FusionKind.Difference, BranchNorm.Group, false, OutputProjection.Joint, false, 4096)]
    [InlineData(FusionKind.Concat, BranchNorm.Group, false, OutputProjection.Joint, false, 2 * 4096)]
    [InlineData(FusionKind.Concat, BranchNorm.Group, false, OutputProjection.Joint, true, (2 * 64 * 64) + (64 * 64) - (64 * 32))]
    public void An_intra_hybrid_counts_what_it_has(
        FusionKind fusion, BranchNorm norm, bool scale, OutputProjection output, bool shared, long beyondBranches)
    {
        var spec = new IntraHybridSpec
        {
            Attention = new() { Heads = 4, KeyValueHeads = 2, HeadSize = 8, ValueHeadSize = shared ? 32 : 16 },
            StateSpace = new Mamba2Spec { Heads = 4, HeadSize = 16, StateSize = 8, GatedNorm = false },
            Fusion = fusion,
            Norm = norm,
            LearnedScale = scale,
            Output = output,
            SharedValues = shared,
        };
        spec.Check(64);
        const long attention = 64 * (32 + 16 + 32), mamba = (64 * (128 + 16 + 4)) + (80 * 5) + 12;
        Assert.Equal(attention + mamba + beyondBranches, spec.CountParameters(64));
    }

    [Fact]
    public void Options_change_the_count_by_their_weights()
    {
        var attention = Design.Designs.Attention;
        Assert.Equal(attention.CountParameters(64) + 64 + 16 + 16 + 64 + 16,
            (attention with { InputBias = true, OutputBias = true, QkNorm = true }).CountParameters(64));
        var mamba2 = Design.Designs.Mamba2;
        Assert.Equal(mamba2.CountParameters(64) - 128, (mamba2 with { GatedNorm = false }).CountParameters(64));
        Assert.Equal(mamba2.CountParameters(64) + 256 + 64 + 8 + 64, (mamba2 with { ProjectionBias = true }).CountParameters(64));
        Assert.Equal(mamba2.CountParameters(64) - 192, (mamba2 with { ConvolutionBias = false }).CountParameters(64));
        Assert.Equal(mamba2.CountParameters(64) + (64 * 64) + (64 * 5), (mamba2 with { Groups = 2 }).CountParameters(64));
        var mamba1 = (Mamba1Spec)new Mamba1Spec().Resolve(64);
        Assert.Equal(mamba1.CountParameters(64) + 256 + 64 - 128,
            (mamba1 with { ProjectionBias = true, ConvolutionBias = false }).CountParameters(64));
    }

    [Fact]
    public void A_design_with_sizes_left_open_is_refused()
    {
        var open = new HybridDesign { VocabularySize = 16, Width = 8, Blocks = [new() { Mixer = new Mamba2Spec() }] };
        Assert.Contains("block 1: mixer M: heads is 0", Assert.Throws<ArgumentException>(() => ParameterCount.FromDesign(open)).Message);
        Assert.True(ParameterCount.FromDesign((open with { Width = 64 }).Resolve()).Total > 0);
    }
}
