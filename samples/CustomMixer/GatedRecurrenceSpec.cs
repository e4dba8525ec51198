using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace CustomMixer;

/// <summary>
/// A gated linear recurrence, one state per channel: h_t = f_t h_{t-1} + (1 - f_t) v_t with a forget gate f_t that depends on the token, read out
/// through an output gate. What the library has to know of it: a letter for patterns, its parameters, its state, and how to make the module.
/// </summary>
public sealed record GatedRecurrenceSpec : CustomMixerSpec
{
    /// <summary>Channels of the recurrence.</summary>
    public required int InnerWidth { get; init; }

    public override string Symbol => "R";

    public override void Check(int width)
    {
        if (InnerWidth < 1) throw new ArgumentException($"InnerWidth is {InnerWidth}; expected at least 1", nameof(InnerWidth));
    }

    // value, forget gate and output gate; a bias of the forget gate; the way back
    public override long CountParameters(int width) => 3L * width * InnerWidth + InnerWidth + (long)InnerWidth * width;

    // h = f h + (1 - f) v: two products and a sum per channel, over a text and in a single step alike
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 3.0 * InnerWidth;

    public override long CountCacheBytes(int width, long length, int elementSize) => 4L * InnerWidth;

    // value, gates and states of a token are kept for the backward pass
    public override double CountSavedActivations(int width, TrainingStepShape step) => 5.0 * InnerWidth * step.ElementSize;

    public override Mixer CreateMixer(ModuleFactory factory) => new GatedRecurrence(factory, this);
}
