using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Design;

/// <summary>Describes a user's mixer with any letter and without a module.</summary>
public sealed record LetterSpec(string Letter) : CustomMixerSpec
{
    public override string Symbol => Letter;

    public override long CountParameters(int width) => 0;

    public override long CountCacheBytes(int width, long length, int elementSize) => 0;

    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

    public override double CountSavedActivations(int width, TrainingStepShape step) => 0;

    public override Mixer CreateMixer(ModuleFactory factory) => throw new NotSupportedException("a spec without module");
}
