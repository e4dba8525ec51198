using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Modules;

/// <summary>Describes a custom mixer whose promises a test sets.</summary>
public sealed record PromisedSpec : CustomMixerSpec
{
    /// <summary>Gets or sets the number of parameters that are counted in excess.</summary>
    public long ParametersTooMany { get; init; }

    public long CacheBytes { get; init; }

    public double Flops { get; init; }

    /// <summary>Is lost in JSON, which writes properties only.</summary>
    public int Field;

    public int[]? Numbers { get; init; }

    /// <summary>Gets or sets a number that every call of Resolve increases.</summary>
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
