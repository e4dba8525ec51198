using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Creates the designs. All designs of a width have the same depth and, through the width of their feed-forwards, the same number of parameters
/// without embedding as the Mamba-2 stack.
/// </summary>
/// <param name="size">The sizes.</param>
/// <param name="width">The model width. The default, 0, means that of the base size.</param>
/// <param name="vocabularySize">The vocabulary size.</param>
sealed class Designs(StudySize size, int vocabularySize, int width = 0)
{
    /// <summary>Specifies the ratios of attention to state-space blocks.</summary>
    public static readonly IReadOnlyList<(int Attention, int Ssm)> Ratios = [(1, 1), (1, 3), (1, 5), (1, 12)];

    // the families of the scaling fits; every run of these names belongs to them, whichever experiment made it
    static readonly HashSet<string> Families = ["attention", "inter 1:5", "inter 1:1", "gated delta 1:5", "gated delta 1:1"];

    readonly int width = width == 0 ? size.Width : width;

    int Heads => Math.Max(1, width / size.HeadSize);

    AttentionSpec Attention => new() { Heads = Heads, KeyValueHeads = Half(Heads), HeadSize = size.HeadSize, Rotary = new RotarySpec() };

    AttentionSpec Window => Attention with { Window = size.Window.Tokens, Sinks = size.Window.Sinks, Rotary = new RotarySpec { Theta = 10_000 } };

    HybridDesignBuilder Start => HybridDesign.Create(width, vocabularySize)
        .WithFeedForward(FeedForwardSpec.SwiGlu((int)(size.FeedForward * width))).Depth(size.Depth);

    Mamba2Spec Mamba2 => new() { StateSize = size.StateSize, HeadSize = size.HeadSize };

    // the largest divisor that is at most half
    static int Half(int heads) => Enumerable.Range(1, Math.Max(1, heads / 2)).Last(count => heads % count == 0);

    HybridDesignBuilder Pair(MixerSpec first, MixerSpec second) => Start.WithMixer(first).WithMixer(second);

    HybridDesign Reference => Start.WithMamba2(Mamba2).Build();

    ExperimentDesign Create(string name, HybridDesignBuilder builder, string designClass) =>
        new(name, DesignSolver.ByFeedForward(builder.Build(), DesignMeasure.NonEmbeddingParameters, Reference, multiple: 8).Design with
        {
            Name = name,
        }, designClass, Families.Contains(name) ? name : null);

    /// <summary>Creates the stack of attention.</summary>
    public ExperimentDesign Transformer => Create("attention", Start.WithAttention(Attention), LearningRates.Attention);

    /// <summary>Creates the stack of Mamba-2.</summary>
    public ExperimentDesign Mamba => Create("mamba", Start.WithMamba2(Mamba2), LearningRates.Mamba);

    /// <summary>Creates the stack of sliding windows, or one with full attention in between.</summary>
    public ExperimentDesign Windows(int attention = 0, int windows = 1) => attention == 0
        ? Create("window 0:1", Start.WithMixer(Window), LearningRates.Attention)
        : Create($"window {attention}:{windows}", Pair(Attention, Window).Ratio("T", attention, "S", windows), LearningRates.Attention);

    /// <summary>Creates an inter-layer hybrid with evenly placed attention.</summary>
    public ExperimentDesign Inter(int attention, int ssm) =>
        Create($"inter {attention}:{ssm}", Pair(Attention, Mamba2).Ratio(attention, ssm), LearningRates.Inter);

    /// <summary>Creates an inter-layer hybrid with another placement.</summary>
    public ExperimentDesign Inter(int attention, int ssm, Placement placement) => Create($"inter {attention}:{ssm} {Word(placement)}",
        Pair(Attention, Mamba2).Ratio(attention, ssm).Place(placement), LearningRates.Inter);

    /// <summary>Creates a stack of Mamba-2 with one attention block.</summary>
    public ExperimentDesign Single(int position) =>
        Create($"attention at {position}", Pair(Attention, Mamba2).Place(position), LearningRates.Inter);

    /// <summary>Creates an inter-layer hybrid with another mixer in the place of attention.</summary>
    public ExperimentDesign InterWithout(int attention, int ssm, string name, MixerSpec replacement) => Create($"{name} {attention}:{ssm}",
        Pair(replacement, Mamba2).Ratio(replacement.Symbol, attention, "M", ssm), LearningRates.Inter);

    /// <summary>Creates an inter-layer hybrid with gated delta nets, whose states are as large as those of Mamba-2, in its place.</summary>
    public ExperimentDesign InterGatedDelta(int attention, int ssm) => InterOf(attention, ssm, LearningRates.GatedDelta, GatedDelta);

    /// <summary>Creates an inter-layer hybrid with Mamba-1 layers of twice the model width in the place of Mamba-2.</summary>
    public ExperimentDesign InterMamba1(int attention, int ssm) => InterOf(attention, ssm, LearningRates.Mamba1, Mamba1);

    /// <summary>Creates an inter-layer hybrid with Mamba-3 layers, with the heads and states of Mamba-2, in its place.</summary>
    public ExperimentDesign InterMamba3(int attention, int ssm) => InterOf(attention, ssm, LearningRates.Mamba3, Mamba3);

    ExperimentDesign InterOf(int attention, int ssm, string designClass, MixerSpec mixer) => Create($"{designClass} {attention}:{ssm}",
        Pair(Attention, mixer).Ratio("T", attention, mixer.Symbol, ssm), designClass);

    /// <summary>Creates an inter-layer hybrid whose Mamba-2 starts with the decays of the original layer, which are faster.</summary>
    public ExperimentDesign InterFastDecays(int attention, int ssm) => Create($"inter {attention}:{ssm}, fast decays",
        Pair(Attention, Mamba2 with { DecayRange = new(1, 16) }).Ratio(attention, ssm), LearningRates.Inter);

    /// <summary>Creates an inter-layer hybrid whose gated delta nets start with the decays of the paper's Mamba-2, which are slower.</summary>
    public ExperimentDesign InterSlowGatedDelta(int attention, int ssm) => Create($"gated delta {attention}:{ssm}, slow decays",
        Pair(Attention, GatedDelta with { DecayRange = new(0.01, 2) }).Ratio("T", attention, GatedDelta.Symbol, ssm), LearningRates.GatedDelta);

    /// <summary>Creates designs whose attention has no positions.</summary>
    public ExperimentDesign WithoutPositions(int attention, int ssm) => ssm == 0
        ? Create("attention, no positions", Start.WithAttention(Attention with { Rotary = null }), LearningRates.Attention)
        : Create($"inter {attention}:{ssm}, no positions", Pair(Attention with { Rotary = null }, Mamba2).Ratio(attention, ssm), LearningRates.Inter);

    /// <summary>Gets a gated short convolution.</summary>
    public MixerSpec Convolution => new ShortConvolutionSpec { ConvolutionWidth = 4 };

    /// <summary>Gets linear attention with a fixed decay per head.</summary>
    public MixerSpec LinearAttention => new LightningAttentionSpec { Heads = Heads, HeadSize = size.HeadSize };

    GatedDeltaSpec GatedDelta => new()
    {
        KeyHeads = Heads, ValueHeads = 2 * Heads, KeyHeadSize = size.StateSize, ValueHeadSize = size.HeadSize,
    };

    MixerSpec Mamba1 => new Mamba1Spec { InnerWidth = 2 * width, StateSize = 16 };

    MixerSpec Mamba3 => new Mamba3Spec { InnerWidth = 2 * width, HeadSize = size.HeadSize, StateSize = size.StateSize };

    /// <summary>
    /// Creates a block with both branches. Both are as wide as the model together with their share: at 1:1, values and state-space channels have the
    /// model width each, and queries and keys half of it, as in the paper.
    /// </summary>
    public IntraHybridSpec Block(FusionKind fusion = FusionKind.Difference, BranchNorm norm = BranchNorm.Group,
        OutputProjection output = OutputProjection.Separate, bool scale = false, bool sharedValues = false, int attention = 1, int ssm = 1)
    {
        int heads = 2 * Heads * attention / (attention + ssm), stateHeads = 2 * Heads - heads;
        return new()
        {
            Attention = new AttentionSpec
            {
                Heads = heads, KeyValueHeads = sharedValues ? heads : Half(heads), HeadSize = size.HeadSize / 2, ValueHeadSize = size.HeadSize,
                Rotary = new RotarySpec(),
            },
            StateSpace = new Mamba2Spec { Heads = stateHeads, HeadSize = size.HeadSize, StateSize = size.StateSize, GatedNorm = false },
            Fusion = fusion, Norm = norm, Output = output, LearnedScale = scale, SharedValues = sharedValues,
        };
    }

    /// <summary>Creates an intra-layer hybrid: its blocks with both branches among blocks of Mamba-2, evenly placed.</summary>
    public ExperimentDesign Intra(int hybrid, int ssm) => ssm == 0 ? Intra("intra 1:0", Block())
        : Create($"intra {hybrid}:{ssm}", Pair(Block(), Mamba2).Ratio(hybrid, ssm), LearningRates.Intra);

    /// <summary>Creates an intra-layer hybrid with another placement.</summary>
    public ExperimentDesign Intra(int hybrid, int ssm, Placement placement) => Create($"intra {hybrid}:{ssm} {Word(placement)}",
        Pair(Block(), Mamba2).Ratio(hybrid, ssm).Place(placement), LearningRates.Intra);

    /// <summary>Creates a stack of blocks with both branches.</summary>
    public ExperimentDesign Intra(string name, IntraHybridSpec block) => Create(name, Start.WithIntraHybrid(block), LearningRates.Intra);

    static string Word(Placement placement) => placement.ToString().ToLowerInvariant();
}
