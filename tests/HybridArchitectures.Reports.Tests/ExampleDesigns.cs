using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Reports.Tests;

static class ExampleDesigns
{
    static readonly AttentionSpec Attention = new() { Heads = 32, KeyValueHeads = 8, Rotary = new() };
    static readonly Mamba2Spec Mamba2 = new() { HeadSize = 128, StateSize = 128 };
    static readonly IntraHybridSpec Intra = new()
    {
        Attention = new() { Heads = 16, KeyValueHeads = 4, HeadSize = 72, ValueHeadSize = 128, Rotary = new() },
        StateSpace = new Mamba2Spec { Heads = 18, HeadSize = 128, StateSize = 128, GatedNorm = false },
    };

    /// <summary>Gets a design of 13 layers with attention at 5 and 9.</summary>
    public static HybridDesign Inter { get; } =
        Of("Inter-layer hybrid 1:5", [.. Enumerable.Range(1, 13).Select(i => i is 5 or 9 ? (MixerSpec)Attention : Mamba2)]);

    public static HybridDesign Transformer { get; } = Of("Transformer", [.. Enumerable.Repeat(Attention, 16)]);

    public static HybridDesign Mamba { get; } = Of("Mamba-2", [.. Enumerable.Repeat(Mamba2, 13)]);

    /// <summary>Gets a design with every kind of part, and a name that is markup.</summary>
    public static HybridDesign Everything { get; } = new HybridDesign
    {
        Name = "<script>alert('every & kind')</script>",
        VocabularySize = 128_256,
        Width = 2048,
        TiedHead = false,
        Blocks = EquatableList.Create<BlockSpec>(
        [
            new() { Mixer = Mamba2, FeedForward = FeedForwardSpec.SwiGlu(8192) },
            new() { Mixer = Attention, FeedForward = FeedForwardSpec.MixtureOfExperts(8, 1, 4096, sharedExperts: 1) },
            new() { Mixer = Attention with { Window = 512, Sinks = 64 }, FeedForward = FeedForwardSpec.SwiGlu(8192) },
            new() { Mixer = new Mamba1Spec { StateSize = 16 }, FeedForward = FeedForwardSpec.None },
            new() { Mixer = Intra, FeedForward = FeedForwardSpec.SwiGlu(8192) },
            new() { Mixer = null, FeedForward = FeedForwardSpec.SwiGlu(4096) },
            new() { Mixer = new LinearAttentionSpec(64), FeedForward = FeedForwardSpec.MixtureOfExperts(64, 6, 1024) },
        ]),
    }.Resolve();

    public static HybridDesign Deep { get; } = Of("Deep", [.. Enumerable.Range(1, 47).Select(i => i % 6 == 4 ? (MixerSpec)Intra : Mamba2)]);

    static HybridDesign Of(string name, MixerSpec[] mixers) => new HybridDesign
    {
        Name = name,
        VocabularySize = 128_256,
        Width = 2048,
        Blocks = mixers.Select(mixer => new BlockSpec { Mixer = mixer, FeedForward = FeedForwardSpec.SwiGlu(8192) }).ToEquatableList(),
    }.Resolve();

    /// <summary>Describes a mixer as a user writes one.</summary>
    public sealed record LinearAttentionSpec(int Features) : CustomMixerSpec
    {
        public override string Symbol => "Q";

        public override long CountParameters(int width) => 4L * width * Features;

        public override long CountCacheBytes(int width, long length, int elementSize) => (long)Features * width * elementSize;

        public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 4.0 * width * Features;

        public override double CountSavedActivations(int width, TrainingStepShape step) => 2.0 * width * step.ElementSize;

        public override Mixer CreateMixer(ModuleFactory factory) => throw new NotSupportedException("for pictures only");
    }
}
