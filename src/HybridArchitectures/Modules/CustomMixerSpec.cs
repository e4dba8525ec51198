using HybridArchitectures.Modules;

namespace HybridArchitectures.Design;

public abstract partial record CustomMixerSpec
{
    /// <summary>Makes the module of this spec. Take parameters from <paramref name="factory"/>, so that seeds and devices are kept.</summary>
    public abstract Mixer CreateMixer(ModuleFactory factory);
}
