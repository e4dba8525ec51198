using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Tests.Design;

/// <summary>Contains small designs that several tests share.</summary>
static class Designs
{
    public static AttentionSpec Attention { get; } = new() { Heads = 8, KeyValueHeads = 2, HeadSize = 8, ValueHeadSize = 8, Rotary = new() };

    public static Mamba2Spec Mamba2 { get; } = new() { Heads = 8, HeadSize = 16, StateSize = 32 };

    public static IntraHybridSpec Intra { get; } =
        new() { Attention = Attention with { Heads = 4 }, StateSpace = new Mamba1Spec { InnerWidth = 64, StateSize = 16, TimeStepRank = 4 } };

    /// <summary>Gets a design with every kind of mixer and feed-forward.</summary>
    public static HybridDesign Everything { get; } = new HybridDesign
    {
        Name = "everything",
        VocabularySize = 512,
        Width = 64,
        TiedHead = false,
        Blocks =
        [
            new() { Mixer = Attention, FeedForward = FeedForwardSpec.SwiGlu(128) },
            new() { Mixer = Attention with { Window = 16, Sinks = 2,
                Rotary = new() { Theta = 1e4, Fraction = 0.5, Scaling = new Llama3RotaryScaling(32, 1, 4, 8192) } } },
            new() { Mixer = Mamba2, FeedForward = FeedForwardSpec.MixtureOfExperts(8, 2, 32, sharedExperts: 1) },
            new() { Mixer = new Mamba1Spec(), FeedForward = FeedForwardSpec.SwiGlu(128), NormEpsilon = 1e-6 },
            new() { Mixer = Intra },
            new() { FeedForward = FeedForwardSpec.SwiGlu(256) },
        ],
    }.Resolve();
}
