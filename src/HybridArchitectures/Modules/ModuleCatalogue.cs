using HybridArchitectures.Design;

namespace HybridArchitectures.Modules;

/// <summary>Which module a spec becomes.</summary>
static class ModuleCatalogue
{
    public static Mixer CreateMixer(ModuleFactory factory, MixerSpec spec) => spec switch
    {
        AttentionSpec attention => new Attention(factory, attention),
        Mamba1Spec mamba1 => new Mamba1(factory, mamba1),
        Mamba2Spec mamba2 => new Mamba2(factory, mamba2),
        IntraHybridSpec intra => new IntraHybrid(factory, intra),
        ShortConvolutionSpec convolution => new ShortConvolution(factory, convolution),
        GatedDeltaSpec delta => new GatedDelta(factory, delta),
        CustomMixerSpec custom => custom.CreateMixer(factory) ?? throw new InvalidOperationException($"{custom.GetType().Name}.{nameof(CustomMixerSpec.CreateMixer)} returned null"),
        _ => throw new ArgumentException($"no module for a {spec.GetType().Name}; derive own mixers from {nameof(CustomMixerSpec)}", nameof(spec)),
    };

    public static FeedForward? CreateFeedForward(ModuleFactory factory, FeedForwardSpec spec) => spec switch
    {
        SwiGluSpec swiGlu => new SwiGluFeedForward(factory, swiGlu),
        MlpSpec mlp => new MlpFeedForward(factory, mlp),
        MixtureOfExpertsSpec experts => new MixtureOfExperts(factory, experts),
        NoFeedForward => null,
        _ => throw new ArgumentException($"no module for a {spec.GetType().Name}", nameof(spec)),
    };
}
