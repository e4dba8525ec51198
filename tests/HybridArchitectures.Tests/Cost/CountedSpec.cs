using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Cost;

/// <summary>Describes a user's mixer that counts its own operations and cache.</summary>
public sealed record CountedSpec : CustomMixerSpec
{
    public override string Symbol => "X";

    public override long CountParameters(int width) => 0;

    public override double CountSavedActivations(int width, TrainingStepShape step) => 2.0 * width * step.ElementSize;

    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => width * seen.Count();

    public override long CountCacheBytes(int width, long length, int elementSize) => 3 * length;

    public override Mixer CreateMixer(ModuleFactory factory) => throw new NotSupportedException("a spec without module");
}
