using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>
/// Contains the sizes that all models of a size class share (Table 8 of the paper), and those of the intra-layer hybrid (Table 15).
/// </summary>
sealed record RecipeSize(string Name, int Width, int FeedForward, int Heads, int KeyValueHeads, int StateHeadSize, int StateSize,
    double PeakLearningRate)
{
    // the tokenizer of Llama 3.2
    const int VocabularySize = 128_256;

    static readonly RotarySpec llamaRotary = new() { Theta = 500_000, Scaling = new Llama3RotaryScaling(32, 1, 4, 8192) };

    public static RecipeSize M100 { get; } = new("100M", 1024, 3072, 16, 4, 128, 128, 6e-3);
    public static RecipeSize M350 { get; } = new("350M", 1536, 4096, 24, 8, 128, 128, 3e-3);
    public static RecipeSize B1 { get; } = new("1B", 2048, 8192, 32, 8, 128, 128, 6e-4);
    public static RecipeSize B3 { get; } = new("3B", 3072, 8192, 32, 8, 192, 256, 3e-4);

    public RecipeTraining Training => new() { PeakLearningRate = PeakLearningRate };

    HybridDesignBuilder Start => HybridDesign.Create(Width, VocabularySize).WithFeedForward(FeedForwardSpec.SwiGlu(FeedForward));

    public HybridDesignBuilder Llama => Start.WithAttention(Heads, KeyValueHeads, rotary: llamaRotary);

    public HybridDesignBuilder Sliding => Start.WithSlidingWindow(window: 512, sinks: 64, Heads, KeyValueHeads);

    public HybridDesignBuilder LlamaAndSliding => Llama.WithSlidingWindow(window: 512, sinks: 64);

    public HybridDesignBuilder Mamba => Start.WithMamba2(StateSize, StateHeadSize);

    public HybridDesignBuilder Inter => Llama.WithMamba2(StateSize, StateHeadSize);

    /// <summary>Returns a builder for intra-layer hybrid and Mamba-2 blocks. Both branches have the same number of heads.</summary>
    public HybridDesignBuilder Intra(
        int heads, int keyValueHeads, int queryHeadSize, int valueHeadSize, int innerWidth, FusionKind fusion = FusionKind.Difference,
        BranchNorm norm = BranchNorm.Group, bool learnedScale = false) => Mamba.WithIntraHybrid(
            new() { Heads = heads, KeyValueHeads = keyValueHeads, HeadSize = queryHeadSize, ValueHeadSize = valueHeadSize, Rotary = llamaRotary },
            new Mamba2Spec { Heads = heads, HeadSize = innerWidth / heads, StateSize = StateSize, GatedNorm = false },
            fusion, norm, learnedScale, fusion == FusionKind.Concat ? OutputProjection.Joint : OutputProjection.Separate);

    /// <summary>Gets eight experts of half the width, one per token, and a shared one (appendix L).</summary>
    public MixtureOfExpertsSpec Experts =>
        FeedForwardSpec.MixtureOfExperts(experts: 8, expertsPerToken: 1, expertWidth: FeedForward / 2, sharedExperts: 1,
        score: RouterScore.Sigmoid, scoreBeforeExperts: true, balance: ExpertBalance.BiasUpdate, balanceRate: 1e-3);
}
