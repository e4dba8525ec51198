using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace CustomMixer;

/// <summary>
/// Describes a gated linear recurrence with one state per channel: h_t = f_t h_{t-1} + (1 - f_t) v_t. The forget gate f_t depends on the token, and
/// an output gate multiplies the result. The spec gives the library a letter for patterns, the counts of parameters and state, and the module.
/// </summary>
public sealed record GatedRecurrenceSpec : CustomMixerSpec
{
    /// <summary>Gets the number of channels of the recurrence.</summary>
    public required int InnerWidth { get; init; }

    public override string Symbol => "Q";

    public override void Check(int width)
    {
        if (InnerWidth < 1) throw new ArgumentException($"InnerWidth is {InnerWidth}; expected at least 1", nameof(InnerWidth));
    }

    // projections of value, forget gate and output gate; the bias of the forget gate; the output projection
    public override long CountParameters(int width) => 3L * width * InnerWidth + InnerWidth + (long)InnerWidth * width;

    // h = f h + (1 - f) v: two products and a sum per channel, for a whole row and for a single step
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 3.0 * InnerWidth;

    public override long CountCacheBytes(int width, long length, int elementSize) => 4L * InnerWidth;

    // the value, gates and states of a token are saved for the backward pass
    public override double CountSavedActivations(int width, TrainingStepShape step) => 5.0 * InnerWidth * step.ElementSize;

    public override Mixer CreateMixer(ModuleFactory factory) => new GatedRecurrence(factory, this);
}
