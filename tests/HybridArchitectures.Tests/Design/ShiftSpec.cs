using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Tests.Design;

/// <summary>Describes a user's mixer with a constructor, a default and a list.</summary>
public sealed partial record ShiftSpec(int By) : CustomMixerSpec
{
    public EquatableList<double> Scales { get; init; } = [];

    public override string Symbol => "X";

    public override long CountParameters(int width) => width;

    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

    public override double CountSavedActivations(int width, TrainingStepShape step) => 2.0 * width * step.ElementSize;

    public override long CountCacheBytes(int width, long length, int elementSize) => (long)By * width * elementSize;

    public override void Check(int width)
    {
        if (By < 0) throw new ArgumentException($"by is {By}; expected at least 0", nameof(By));
    }
}
