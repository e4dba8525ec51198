using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Verification;

/// <summary>Describes a running mean over a row that is right or has one fault.</summary>
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
