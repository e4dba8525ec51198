using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;

namespace HybridArchitectures.Tests.Models;

/// <summary>Contains designs of two to four small blocks that together use every mixer, feed-forward, fusion and norm.</summary>
static class TinyDesigns
{
    const int Width = 24, VocabularySize = 37;

    static HybridDesign Of(string name, params BlockSpec[] blocks) =>
        new HybridDesign { Name = name, Width = Width, VocabularySize = VocabularySize, Blocks = [.. blocks] }.Resolve();

    static BlockSpec Block(MixerSpec? mixer, FeedForwardSpec? feedForward = null) =>
        new() { Mixer = mixer, FeedForward = feedForward ?? FeedForwardSpec.SwiGlu(40) };

    static AttentionSpec Attention => new() { Heads = 4, KeyValueHeads = 2, HeadSize = 6, Rotary = new RotarySpec { Theta = 1000 } };

    static Mamba2Spec Mamba2 => new() { Heads = 6, HeadSize = 8, StateSize = 5, Groups = 2, ChunkSize = 8 };

    static Mamba1Spec Mamba1 => new() { StateSize = 3 };

    static IntraHybridSpec Intra(MixerSpec? stateSpace = null) => new()
    {
        Attention = new AttentionSpec { Heads = 4, KeyValueHeads = 2, HeadSize = 4, ValueHeadSize = 12, Rotary = new RotarySpec() },
        StateSpace = stateSpace ?? Mamba2 with { GatedNorm = false },
    };

    static GatedDeltaSpec Delta => new() { KeyHeads = 2, ValueHeads = 4, KeyHeadSize = 5, ValueHeadSize = 6, ChunkSize = 8 };

    static KimiDeltaSpec Kimi => new() { Heads = 3, HeadSize = 5, ValueHeadSize = 6, DecayRank = 4, GateRank = 3, ChunkSize = 4 };

    static LatentAttentionSpec Latent => new() { Heads = 3, HeadSize = 6, SharedKeySize = 4, ValueHeadSize = 5, KeyValueRank = 7 };

    static RotarySpec Scaled(RotaryScaling scaling) => new() { Theta = 1000, Scaling = scaling };

    static SharedTransformerSpec Shared => new()
    {
        Attention = new AttentionSpec { Heads = 4, KeyValueHeads = 2, HeadSize = 10, Scale = 0.4, Rotary = new RotarySpec() },
        FeedForward = new SwiGluSpec(14) { Activation = Activation.Gelu, Bias = true },
    };

    static BlockSpec Using(BlockSpec block, int transformer, int attentionRank, int feedForwardRank) =>
        block with { Shared = new() { Transformer = transformer, AttentionAdapterRank = attentionRank, FeedForwardAdapterRank = feedForwardRank } };

    static HybridDesign Sharing(string name, SharedTransformerSpec[] transformers, params BlockSpec[] blocks) =>
        new HybridDesign { Name = name, Width = Width, VocabularySize = VocabularySize, Blocks = [.. blocks],
            SharedTransformers = [.. transformers] }.Resolve();

    static MlpSpec Shift => new(20) { Activation = Activation.ReluSquared, TokenShift = true };

    static MixtureOfExpertsSpec Experts => FeedForwardSpec.MixtureOfExperts(4, 2, 12);

    public static IReadOnlyList<HybridDesign> All { get; } =
    [
        Of("transformer", Block(Attention), Block(Attention with { QkNorm = true, InputBias = true, OutputBias = true })),
        Of("no positions, unequal value heads", Block(Attention with { Rotary = null, ValueHeadSize = 10, Scale = 0.3 }), Block(Mamba2)),
        Of("sliding window", Block(Attention with { Window = 5, Sinks = 2 }), Block(Attention with { Window = 4 })),
        Of("mamba2", Block(Mamba2), Block(Mamba2 with { NormGroups = 2, NormBeforeGate = true, ProjectionBias = true, ConvolutionBias = false })),
        Of("mamba2 limits", Block(Mamba2 with { TimeStepLimit = new Interval(0.01, 0.2), ConvolutionWidth = 2, GatedNorm = false })),
        Of("mamba1", Block(Mamba1), Block(Mamba1 with { ProjectionBias = true, InnerWidth = 32 })),
        Of("inter", Block(Mamba2), Block(Mamba1), Block(Attention), Block(Mamba2, FeedForwardSpec.None)),
        Of("intra difference", Block(Intra()), Block(Mamba2)),
        Of("intra add rms scale", Block(Intra() with { Fusion = FusionKind.Add, Norm = BranchNorm.Rms, LearnedScale = true })),
        Of("intra joint concat", Block(Intra() with { Fusion = FusionKind.Concat, Output = OutputProjection.Joint, Norm = BranchNorm.None })),
        Of("intra joint gate", Block(Intra() with { Fusion = FusionKind.Gate, Output = OutputProjection.Joint })),
        Of("intra gate", Block(Intra() with { Fusion = FusionKind.Gate })),
        Of("intra mamba1", Block(Intra(Mamba1 with { InnerWidth = 48 }))),
        Of("intra shared values", Block(
        Intra() with { SharedValues = true,
            Attention = new AttentionSpec { Heads = 4, KeyValueHeads = 4, HeadSize = 4, ValueHeadSize = 12, Rotary = new RotarySpec() } })),
        Of("experts", Block(Attention, Experts),
        Block(Mamba2, Experts with { Score = RouterScore.Softmax, Renormalize = true, Scale = 1.5, SharedExperts = 1,
            Balance = ExpertBalance.AuxiliaryLoss, RouterZLoss = 1e-3 })),
        Of("experts before", Block(Mamba2, Experts with { ExpertsPerToken = 1, ScoreBeforeExperts = true, Balance = ExpertBalance.BiasUpdate })),
        Of("feed-forward alone", Block(Attention, FeedForwardSpec.None), Block(null), Block(Mamba2)),
        Of("own mixer", Block(new HybridArchitectures.Tests.Design.ShiftSpec(2)), Block(Attention)),
        Of("scales", Block(Attention with { InputScale = 0.8, KeyScale = 1.3, OutputScale = 0.7 },
        new SwiGluSpec(20) { Bias = true, GateScale = 1.4, OutputScale = 0.6 }),
            Block(Mamba2 with { InputScale = 1.2, OutputScale = 0.9, ProjectionScales = new(0.7, 1.1, 0.8, 1.3, 1.2), OutputBias = true,
                GatedNormEpsilon = 1e-3 },
                new SwiGluSpec(20) { Activation = Activation.GeluTanh }) with { ResidualScale = 0.6 }) with { EmbeddingScale = 2.5,
                LogitScale = 0.4 },
        Of("selection norms", Block(Mamba1 with { SelectionNorm = SelectionNorm.Plain, SelectionNormEpsilon = 1e-3 }),
            Block(Mamba1 with { SelectionNorm = SelectionNorm.Weighted }, FeedForwardSpec.Mlp(20, Activation.Gelu, bias: true)),
            Block(null, FeedForwardSpec.Mlp(20, Activation.Relu))),
        Of("experts in groups", Block(
        Attention, Experts with { RoutingGroups = 2, Activation = Activation.ReluSquared, Gated = false, LatentWidth = 10, SharedExperts = 1 }),
            Block(Mamba2, Experts with { Experts = 6, RoutingGroups = 3, GroupsPerToken = 2, ExpertsPerToken = 3, Renormalize = true })),
        Of("nonlinearities", Block(Mamba2 with { Activation = Activation.Relu }), Block(Mamba1 with { Activation = Activation.Gelu }),
        Block(Delta with { Activation = Activation.ReluSquared })),
        Of("odd rotary part", Block(Attention with { Rotary = new RotarySpec { Theta = 1000, Fraction = 0.5 } }), Block(Mamba2)),
        Of("short convolution", Block(new ShortConvolutionSpec()), Block(new ShortConvolutionSpec { ConvolutionWidth = 2, Bias = true }),
        Block(Attention)),
        Of("gated delta", Block(Delta), Block(Delta with { KeyHeads = 4, ConvolutionBias = true, ConvolutionWidth = 2, ValueHeadSize = 3 }),
            Block(Attention with { OutputGate = true, QkNorm = true, ValueHeadSize = 10, InputBias = true },
            Experts with { SharedExperts = 1, SharedGate = true, Balance = ExpertBalance.JointAuxiliaryLoss }),
            Block(Intra() with { Attention = Intra().Attention with { OutputGate = true } },
            Experts with { Score = RouterScore.Softmax, Balance = ExpertBalance.JointAuxiliaryLoss }))
            with { ZeroCenteredNorms = true, PaddingId = 3, HeadZLoss = 1e-3 },
        Sharing("shared transformers", [Shared, Shared with { ReadsEmbedding = false, NormEpsilon = 1e-3 }], Block(Mamba2),
        Using(Block(Mamba2, FeedForwardSpec.None), 0, 3, 2), Using(Block(Attention), 1, 0, 0),
            Using(Block(Intra()), 0, 3, 2)),
        Of("Kimi delta", Block(Kimi), Block(Kimi with { NegativeEigenvalues = true, ConvolutionWidth = 2, ChunkSize = 8 })),
        Of("latent attention", Block(Latent), Block(Latent with { QueryRank = 9, Bias = true, Rotary = new RotarySpec(), Scale = 0.4 }), Block(Kimi)),
        Of("norms after", Block(Attention with { QkNorm = true, QkNormAcrossHeads = true, Window = 6 }) with { Norms = NormPlacement.After },
            Block(Delta with { NegativeEigenvalues = true, GatedNormEpsilon = 1e-3 }),
            Block(Mamba2, Experts) with { Norms = NormPlacement.After, ResidualScale = 0.7 }),
        Of("lightning attention", Block(new LightningAttentionSpec { Heads = 3, HeadSize = 6, ChunkSize = 8 }) with
            { Norms = NormPlacement.Stream, Scales = new(0.9, 1.2, 1.1, 0.7) },
            Block(Attention) with { Norms = NormPlacement.Stream, Scales = new(1.3, 0.8, 1, 1) },
            Block(new LightningAttentionSpec { Heads = 2, DecayScale = 0.3, Activation = Activation.Relu })),
        Of("RG-LRU", Block(new RgLruSpec { Heads = 3, InnerWidth = 30 }, new SwiGluSpec(20) { Activation = Activation.GeluTanh, Bias = true }),
            Block(new RgLruSpec { Heads = 2, ConvolutionWidth = 2, Activation = Activation.Silu }), Block(Attention with { Window = 6 }))
            with { ZeroCenteredNorms = true, LogitCap = 3, LogitScale = 1.5 },
        Of("gated linear attention",
            Block(new GatedLinearAttentionSpec { Heads = 3, KeyHeadSize = 5, ValueHeadSize = 6, DecayRank = 4, ChunkSize = 4 }),
            Block(new GatedLinearAttentionSpec { Heads = 2, DecayNormalizer = 2 })),
        Of("HGRN2", Block(new Hgrn2Spec { Heads = 3, KeyHeadSize = 5, ValueHeadSize = 6, LowerBound = false, ChunkSize = 4 }),
            Block(new Hgrn2Spec { Heads = 2, OutputNormEpsilon = 1e-3 })),
        Of("RWKV-7", Block(new Rwkv7Spec { Heads = 3, HeadSize = 5, DecayRank = 4, RateRank = 3, GateRank = 6, ChunkSize = 4 }),
            Block(new Rwkv7Spec { Heads = 2, OutputNormEpsilon = 1e-3 })),
        Of("RWKV-7 with first values", Block(new Rwkv7Spec { Heads = 3, HeadSize = 6, ChunkSize = 4 }, Shift), Block(Attention, Shift),
            Block(null, Shift with { Activation = Activation.Relu, Bias = true }),
            Block(new Rwkv7Spec { Heads = 2, HeadSize = 9, ValueRank = 4, RemovalEpsilon = 1e-3 }),
            Block(new Rwkv7Spec { Heads = 3, HeadSize = 6, ValueRank = 0 }, Shift))
            with { NormKind = NormKind.LayerNorm, EmbeddingNorm = true, TiedHead = false },
        Sharing("shared transformer and shift", [Shared], Block(new Rwkv7Spec { Heads = 2 }, Shift),
            Using(Block(new Rwkv7Spec { Heads = 3, ValueRank = 5 }, Shift), 0, 2, 0)) with { EmbeddingNorm = true },
        Of("Mamba-3", Block(new Mamba3Spec { HeadSize = 8, StateSize = 6, InnerWidth = 48, Groups = 2, ChunkSize = 8 }),
            Block(new Mamba3Spec { HeadSize = 4, StateSize = 5, InnerWidth = 20, RotaryFraction = 1, ProjectionBias = true, ChunkSize = 4,
                SelectionNormEpsilon = 1e-3 })),
        Of("differential attention", Block(new DifferentialAttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 4, Rotary = new() }),
            Block(new DifferentialAttentionSpec { Heads = 3, InitialMultiplier = 0.2 })),
        Of("delta net", Block(Delta with { Decays = false, OutputGate = false }), Block(Delta with { Decays = false, ConvolutionBias = true }),
            Block(Delta with { OutputGate = false, NegativeEigenvalues = true })),
        Of("scaled positions", Block(Attention with { Rotary = Scaled(new LinearRotaryScaling(2)) }),
            Block(Attention with { Rotary = Scaled(new YarnRotaryScaling { Factor = 4, OriginalContextLength = 16 }) }),
            Block(Attention with { Rotary = Scaled(new ProportionalRotaryScaling(2, 0.7)) }),
            Block(Attention with { Rotary = Scaled(new LongRotaryScaling { ShortFactors = [1, 1.5, 2], LongFactors = [2, 3, 4],
                OriginalContextLength = 4096, AttentionFactor = 1.2 }) }),
            Block(Attention with { Rotary = Scaled(new DynamicRotaryScaling(3, 4096)) })),
        Of("untied", Block(Attention), Block(Mamba2)) with { TiedHead = false },
    ];

    public static TheoryData<string> Names => [.. All.Select(design => design.Name!)];

    public static HybridDesign Get(string name) => All.Single(design => design.Name == name);

    /// <summary>Creates a model with random parameters, so that no term is hidden by a zero or a one.</summary>
    public static HybridLanguageModel Model(string name)
    {
        var model = Get(name).CreateModel(seed: 3);
        using var scope = TorchSharp.torch.NewDisposeScope();
        using var noGrad = TorchSharp.torch.no_grad();
        TorchSharp.torch.manual_seed(5);
        foreach (var (_, parameter, _) in model.AllParameters()) parameter.add_(TorchSharp.torch.randn_like(parameter) * 0.2);
        return model;
    }
}
