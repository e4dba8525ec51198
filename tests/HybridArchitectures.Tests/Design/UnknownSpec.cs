using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Design;

/// <summary>Describes a user's mixer that is not registered.</summary>
public sealed partial record UnknownSpec : CustomMixerSpec
{
    public override string Symbol => "Y";

    public override long CountParameters(int width) => 0;

    public override long CountCacheBytes(int width, long length, int elementSize) => 0;

    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

    public override double CountSavedActivations(int width, TrainingStepShape step) => 0;
}
