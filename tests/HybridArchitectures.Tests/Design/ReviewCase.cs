using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Review;

namespace HybridArchitectures.Tests.Design;

/// <summary>Contains a design at which a rule fires, and a similar one at which it does not.</summary>
/// <param name="Rule">The rule's id.</param>
/// <param name="Fires">Has the fault.</param>
/// <param name="Passes">Has it not.</param>
/// <param name="Layer">The layer named; null: none.</param>
/// <param name="Options">What the review knows.</param>
sealed record ReviewCase(string Rule, HybridDesign Fires, HybridDesign Passes, int? Layer = null, ReviewOptions? Options = null)
{
    static readonly Mamba2Spec mamba = new() { StateSize = 16, HeadSize = 16, Heads = 8 };

    static HybridDesignBuilder Start => HybridDesign.Create(64, 100).WithAttention(4, 2).WithSlidingWindow(8, 2).WithMamba2(mamba).WithMamba1()
        .WithFeedForward(FeedForwardSpec.SwiGlu(256))
        .WithIntraHybrid(Intra);

    static IntraHybridSpec Intra =>
        new() { Attention = new() { Heads = 4, HeadSize = 16, ValueHeadSize = 16 },
            StateSpace = new Mamba2Spec { StateSize = 16, Heads = 4, HeadSize = 16 } };

    static HybridDesign Of(string pattern) => Start.Pattern(pattern).Build();

    static HybridDesign Sharing(int headSize) =>
        Start.WithSharedTransformers(new() { Attention = new() { Heads = 4, HeadSize = headSize }, FeedForward = new(32) }).Pattern("MM+M").Build();

    static HybridDesign With(IntraHybridSpec intra) => Start.WithIntraHybrid(intra).Pattern("MHM").Build();

    static HybridDesign With(Mamba2Spec spec) => Start.WithMamba2(spec).Pattern("MTM").Build();

    static HybridDesign Mixing(params IEnumerable<MixerSpec> mixers) =>
        mixers.Aggregate(HybridDesign.Create(64, 100).WithFeedForward(FeedForwardSpec.SwiGlu(256)), (builder, mixer) => builder.WithMixer(mixer))
            .Pattern(string.Concat(mixers.Select(mixer => mixer.Symbol))).Build();

    static HybridDesign Attention(AttentionSpec spec) => Start.WithAttention(spec).Pattern("MTM").Build();

    static HybridDesign Experts(ExpertBalance balance, double rate) =>
        Start.WithFeedForward(FeedForwardSpec.MixtureOfExperts(4, 2, 32, balance: balance, balanceRate: rate)).Pattern("MTM").Build();

    static HybridDesign Windows(string pattern, int window) => Start.WithSlidingWindow(window, 2).Pattern(pattern).Build();

    static HybridDesign Linear(string pattern, RotarySpec? rotary, int convolution = 4) => Start.WithAttention(4, rotary: rotary)
        .WithMamba2(mamba with { ConvolutionWidth = convolution }).WithMixer(new LightningAttentionSpec { Heads = 4 })
        .WithMixer(new GatedLinearAttentionSpec { Heads = 4 }).Pattern(pattern).Build();

    static HybridDesign Deltas(bool negative, string pattern) => Start
        .WithMixer(new GatedDeltaSpec { KeyHeads = 2, KeyHeadSize = 16, NegativeEigenvalues = negative })
        .WithMixer(new KimiDeltaSpec { Heads = 2, HeadSize = 16 }).WithMixer(new Rwkv7Spec { Heads = 2 }).Pattern(pattern).Build();

    // of which no model can be made
    static HybridDesign Unchecked(MixerSpec mixer)
    {
        var design = Of("MMM");
        return design with { Blocks = design.Blocks.With(1, design.Blocks[1] with { Mixer = mixer.Resolve(64) }) };
    }

    static HybridDesign Uneven()
    {
        var design = Sharing(16);
        return design with { SharedTransformers = [
            design.SharedTransformers[0] with { Attention = design.SharedTransformers[0].Attention with { KeyValueHeads = 3 } }] };
    }

    public static IReadOnlyList<ReviewCase> All { get; } =
    [
        new("head-groups", Unchecked(mamba with { Groups = 3 }), With(mamba with { Groups = 4 }), 2),
        new("head-groups", Unchecked(mamba with { Groups = 0 }), With(mamba), 2),
        new("head-groups", Unchecked(new AttentionSpec { Heads = 6, KeyValueHeads = 4, HeadSize = 16, ValueHeadSize = 16 }), Of("MTM"), 2),
        new("head-groups", Unchecked(Intra with { Attention = Intra.Attention with { KeyValueHeads = 9 } }), With(Intra), 2),
        new("head-groups", Unchecked(new GatedDeltaSpec { KeyHeads = 3, ValueHeads = 4, KeyHeadSize = 16, ValueHeadSize = 16 }), Of("MTM"), 2),
        new("head-groups", Uneven(), Sharing(16)),
        new("chunk-power", Unchecked(mamba with { ChunkSize = 40 }), With(mamba with { ChunkSize = 32 }), 2),
        new("chunk-power", Unchecked(Intra with { StateSpace = mamba with { ChunkSize = 50 } }), With(Intra), 2),
        new("chunk-power", Unchecked(mamba with { ChunkSize = -1 }), With(mamba), 2),
        new("chunk-power", Unchecked(new GatedDeltaSpec { KeyHeads = 4, ValueHeads = 4, KeyHeadSize = 16, ValueHeadSize = 16, ChunkSize = 96 }),
        Of("MTM"), 2),
        new("chunk-power", Unchecked(new KimiDeltaSpec { Heads = 4, ChunkSize = 24 }), Of("MTM"), 2),
        new("chunk-power", Unchecked(new LightningAttentionSpec { Heads = 4, ChunkSize = 24 }), Of("MTM"), 2),
        new("chunk-power", Unchecked(new GatedLinearAttentionSpec { Heads = 4, ChunkSize = 24 }), Of("MTM"), 2),
        new("chunk-power", Unchecked(new Hgrn2Spec { Heads = 4, ChunkSize = 24 }), Of("MTM"), 2),
        new("chunk-power", Unchecked(new Rwkv7Spec { Heads = 4, ChunkSize = 24 }), Of("MTM"), 2),
        new("chunk-power", Unchecked(new Mamba3Spec { HeadSize = 16, ChunkSize = 24 }), Of("MTM"), 2),
        new("attention-first", Of("TMMMMMM"), Of("MMMTMMM"), 1),
        new("attention-first", Of("TMTMTM"), Of("MTMTMT"), 1),
        new("attention-first", Of("HMMMMHM"), Of("HHHHHHH"), 1),
        new("attention-first", Of("- T~ M~ M~ M~"), Of("- M~ M~ T~ M~"), 2),
        new("attention-first", Of("TTTTTM"), Of("MTTTTT"), 1),
        new("attention-early", Of("MTMMMMMMMMMMM"), Of("MMMTMMMMMMMMM"), 2),
        new("attention-early", Of("MTMMMMMMMMMMM"), Of("MTMMMMMMTMMMM"), 2),
        new("attention-late", Of("MMMMMT"), Of("MMMTMT"), 6),
        new("intra-sandwich", Of("HMMMMMH"), Of("MHMMMHM"), 7),
        new("intra-clustered", Of("MMMMMHHM"), Of("MMHMMHMM"), 6),
        new("intra-norm", With(Intra with { Norm = BranchNorm.None }), With(Intra), 2),
        new("intra-norm", With(Intra with { Norm = BranchNorm.None, Output = OutputProjection.Joint }), With(Intra with { Norm = BranchNorm.Rms }),
        2),
        new("intra-norm", With(Intra with { Norm = BranchNorm.None, Attention = Intra.Attention with { Heads = 3 },
            StateSpace = new Mamba1Spec { InnerWidth = 64 } }), With(Intra), 2),
        new("intra-scale", With(Intra with { LearnedScale = true }), With(Intra with { LearnedScale = true, Norm = BranchNorm.None }), 2),
        new("intra-joint-output", With(Intra with { Output = OutputProjection.Joint }),
        With(Intra with { Output = OutputProjection.Joint, Fusion = FusionKind.Concat }), 2),
        new("intra-shared-values", With(Intra with { SharedValues = true }), With(Intra), 2),
        new("intra-narrow-attention", With(Intra with { Attention = Intra.Attention with { Heads = 1, HeadSize = 8, ValueHeadSize = 64 } }),
        With(Intra), 2),
        new("no-attention", Of("MMM"), Of("MTM")),
        new("no-attention", Of("mmm"), Of("MHM")),
        new("attention-past-training", Of("TTT"), Of("TTM"), Options: new() { MaxContextLength = 16_384 }),
        new("window-alone", Of("SSS"), Of("STS")),
        new("no-positions", Start.WithAttention(4, rotary: RotarySpec.None).Pattern("TTT").Build(),
        Start.WithAttention(4, rotary: RotarySpec.None).Pattern("TMT").Build()),
        new("no-positions", Mixing(new DifferentialAttentionSpec { Heads = 2 }, new AttentionSpec { Heads = 4 }),
        Mixing(new DifferentialAttentionSpec { Heads = 2 }, new AttentionSpec { Heads = 4, Rotary = new() })),
        new("no-positions", Mixing(new LatentAttentionSpec { Heads = 2, KeyValueRank = 8, SharedKeySize = 7 }),
        Mixing(new LatentAttentionSpec { Heads = 2, KeyValueRank = 8 }, new ShortConvolutionSpec())),
        new("no-positions", Start.WithAttention(new AttentionSpec { Heads = 4 }).WithSharedTransformers(
            new() { Attention = new() { Heads = 4 }, FeedForward = new(32) }).Pattern("TT+").Build(),
        Start.WithAttention(new AttentionSpec { Heads = 4 }).WithSharedTransformers(
            new() { Attention = new() { Heads = 4, Rotary = new() }, FeedForward = new(32) }).Pattern("TT+").Build()),
        new("head-size", Attention(new() { Heads = 4, HeadSize = 12, Rotary = new() }), Attention(new() { Heads = 4, HeadSize = 24, Rotary = new() }),
        2),
        new("head-size", With(Intra with { Attention = Intra.Attention with { HeadSize = 18 } }), With(Intra), 2),
        new("shared-head-size", Sharing(12), Sharing(16)),
        new("unequal-head-sizes", Attention(new() { Heads = 4, HeadSize = 8, ValueHeadSize = 16 }), Attention(new() { Heads = 4, HeadSize = 16 }), 2),
        new("recall", Of("SMM"), Of("TMM"), 2, new() { RecalledPairs = 100 }),
        new("recall", Of("mmm"), Start.WithMamba1(stateSize: 32).Pattern("mmm").Build(), 1, new() { RecalledPairs = 17 }),
        new("chunk-size", With(mamba with { ChunkSize = 8 }), With(mamba with { ChunkSize = 256 }), 1),
        new("chunk-size", With(mamba with { ChunkSize = 512 }), With(mamba with { ChunkSize = 16 }), 1),
        new("norm-groups", With(mamba with { Groups = 2, NormGroups = 4 }), With(mamba with { Groups = 2, NormGroups = 2 }), 1),
        new("norm-groups", With(mamba with { NormGroups = 4 }), With(mamba with { NormGroups = 4, GatedNorm = false }), 1),
        new("decay-range", With(mamba with { DecayRange = new(0.001, 1) }), With(mamba with { DecayRange = new(1, 16) }), 1),
        new("hybrid-positions", Of("MMTM"), Start.WithoutPositions().Pattern("MMTM").Build(), 3, new() { MaxContextLength = 16_384 }),
        new("hybrid-positions", With(Intra with { Attention = Intra.Attention with { Rotary = new() } }), With(Intra), 2,
        new() { MaxContextLength = 16_384 }),
        new("wide-window", Windows("SSSTSS", 2048), Windows("SSSTSS", 1024), 1),
        new("wide-window", Windows("MSM", 1025), Windows("MTS", 1025), 2),
        new("no-convolution", Linear("LLT", RotarySpec.None), Linear("LLT", null), 1),
        new("no-convolution", Linear("MgT", RotarySpec.None), Linear("MMT", RotarySpec.None), 2),
        new("no-convolution", Linear("MMT", RotarySpec.None, 1), Linear("MMT", RotarySpec.None, 2), 1),
        new("state-tracking", Deltas(false, "MKT"), Deltas(true, "GKT"), 2, new() { StateTracking = true }),
        new("state-tracking", Deltas(false, "GGT"), Deltas(true, "GGT"), 1, new() { StateTracking = true }),
        new("state-tracking", Deltas(false, "GMT"), Deltas(false, "GWT"), 1, new() { StateTracking = true }),
        new("expert-balance", Experts(ExpertBalance.None, 1e-3), Experts(ExpertBalance.AuxiliaryLoss, 1e-2), 1),
        new("expert-balance", Experts(ExpertBalance.BiasUpdate, 0), Experts(ExpertBalance.BiasUpdate, 1e-3), 1),
        new("head-share", HybridDesign.Create(64, 100_000).WithAttention(4).Depth(2).Build(),
        HybridDesign.Create(64, 100).WithAttention(4).Depth(2).Build()),
        new("head-share", HybridDesign.Create(64, 400).TiedHead(false).WithAttention(4).Depth(2).Build(),
        HybridDesign.Create(64, 400).WithAttention(4).Depth(2).Build()),
    ];

    public override string ToString() => $"{Rule} {Fires.Pattern}";
}
