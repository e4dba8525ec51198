using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Modules;

/// <summary>Creates the module of a spec.</summary>
static class ModuleCatalogue
{
    const int ListedParameters = 20;

    public static Mixer CreateMixer(ModuleFactory factory, MixerSpec spec) => spec switch
    {
        AttentionSpec attention => new Attention(factory, attention),
        Mamba1Spec mamba1 => new Mamba1(factory, mamba1),
        Mamba2Spec mamba2 => new Mamba2(factory, mamba2),
        Mamba3Spec mamba3 => new Mamba3(factory, mamba3),
        IntraHybridSpec intra => new IntraHybrid(factory, intra),
        ShortConvolutionSpec convolution => new ShortConvolution(factory, convolution),
        GatedDeltaSpec delta => new GatedDelta(factory, delta),
        KimiDeltaSpec kimi => new KimiDelta(factory, kimi),
        LightningAttentionSpec lightning => new LightningAttention(factory, lightning),
        RgLruSpec unit => new RgLru(factory, unit),
        GatedLinearAttentionSpec linear => new GatedLinearAttention(factory, linear),
        Hgrn2Spec recurrent => new Hgrn2(factory, recurrent),
        Rwkv7Spec rwkv => new Rwkv7(factory, rwkv),
        DifferentialAttentionSpec differential => new DifferentialAttention(factory, differential),
        LatentAttentionSpec latent => new LatentAttention(factory, latent),
        CustomMixerSpec custom => CreateCustom(factory, custom),
        _ => throw Require.Unfit(nameof(spec), $"spec is a {spec.GetType().Name}",
                $"a mixer of the library, or one derived from {nameof(CustomMixerSpec)}"),
    };

    static Mixer CreateCustom(ModuleFactory factory, CustomMixerSpec spec)
    {
        string name = spec.GetType().Name;
        var mixer = spec.CreateMixer(factory)
            ?? throw new InvalidOperationException($"{name}.{nameof(CustomMixerSpec.CreateMixer)} returned null; expected a mixer");
        var parameters = mixer.AllParameters().Where(item => item.Value.requires_grad).DistinctBy(item => item.Value.Handle).ToArray();
        long counted = spec.CountParameters(factory.Width), real = parameters.Sum(item => item.Value.NumberOfElements);
        if (counted == real) return mixer;
        string parts = parameters.Length == 0 ? "none"
            : string.Join(", ", parameters.Take(ListedParameters).Select(item => $"{item.Name} [{string.Join(", ", item.Value.shape)}]"))
                + (parameters.Length > ListedParameters ? $" and {parameters.Length - ListedParameters} more" : "");
        mixer.Dispose();
        throw new InvalidOperationException(
            $"{name}.{nameof(MixerSpec.CountParameters)}({factory.Width}) is {counted}; expected {real}, the parameters of its module "
            + $"{mixer.GetName()}: {parts}.");
    }

    public static FeedForward? CreateFeedForward(ModuleFactory factory, FeedForwardSpec spec) => spec switch
    {
        SwiGluSpec swiGlu => new SwiGluFeedForward(factory, swiGlu),
        MlpSpec mlp => new MlpFeedForward(factory, mlp),
        MixtureOfExpertsSpec experts => new MixtureOfExperts(factory, experts),
        NoFeedForward => null,
        _ => throw Require.Unfit(nameof(spec), $"spec is a {spec.GetType().Name}", "a feed-forward of the library"),
    };
}
