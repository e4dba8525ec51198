using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Verification;

/// <summary>A running mean over a row, right or wrong in one way.</summary>
public sealed record BrokenSpec(Fault Fault) : CustomMixerSpec
{
    public override string Symbol => "B";

    public override long CountParameters(int width) => width;

    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

    public override double CountSavedActivations(int width, TrainingStepShape step) => 2.0 * width * step.ElementSize;

    public override long CountCacheBytes(int width, long length, int elementSize) =>
        (long)width * elementSize + (Fault == Fault.CountsItsCacheWrongly ? 4 * length : 0);

    public override void Check(int width) { }

    public override Mixer CreateMixer(ModuleFactory factory) => new BrokenMixer(factory, Fault);
}
