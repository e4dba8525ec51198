using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Modules;

/// <summary>A custom mixer whose promises a test sets.</summary>
public sealed record PromisedSpec : CustomMixerSpec
{
    /// <summary>Parameters that are counted beyond those there are.</summary>
    public long ParametersTooMany { get; init; }

    public long CacheBytes { get; init; }

    public double Flops { get; init; }

    /// <summary>Lost in JSON, which writes properties.</summary>
    public int Field;

    public int[]? Numbers { get; init; }

    /// <summary>What every Resolve adds to.</summary>
    public int Grows { get; init; }

    public bool IsLost { get; init; }

    public override string Symbol => "P";

    public override MixerSpec Resolve(int width) => IsLost ? null! : Grows == 0 ? this : this with { Grows = Grows + 1 };

    public override long CountParameters(int width) => (long)width * width + width + ParametersTooMany;

    public override double CountSavedActivations(int width, TrainingStepShape step) => 2.0 * width * step.ElementSize;

    public override long CountCacheBytes(int width, long length, int elementSize) => CacheBytes;

    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => Flops;

    public override Mixer CreateMixer(ModuleFactory factory) => new PromisedMixer(factory);
}
