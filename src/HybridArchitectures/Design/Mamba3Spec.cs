using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes Mamba-3 with one input and one output per head (SISO; openreview HwCvaJOiCj): a state-space dual layer whose input is discretized by a
/// trapezoidal rule with a learned weight, whose decay depends on the token, whose B and C are normalized, have a bias per head and are rotated by
/// angles that depend on the tokens (complex states), and which has no convolution.
/// </summary>
public sealed record Mamba3Spec : MixerSpec
{
    /// <summary>Gets or sets the number of channels per head (P). The default is 64.</summary>
    public int HeadSize { get; init; } = 64;

    /// <summary>Gets or sets the number of state values per channel (N). The default is 128.</summary>
    public int StateSize { get; init; } = 128;

    /// <summary>
    /// Gets or sets the total width of the heads, a multiple of <see cref="HeadSize"/>. The default, 0, means twice the model width.
    /// </summary>
    public int InnerWidth { get; init; }

    /// <summary>Gets or sets the number of groups of heads that share B and C, a divisor of the number of heads. The default is 1.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>
    /// Gets or sets the part of the state that is rotated, in pairs of neighbouring values: 0.5 or 1. All heads share the angles before they are
    /// multiplied by the time step. The default is 0.5.
    /// </summary>
    public double RotaryFraction { get; init; } = 0.5;

    /// <summary>Gets or sets the minimum of -A, so that every state decays. The default is 1e-4.</summary>
    public double DecayFloor { get; init; } = 1e-4;

    /// <summary>Gets or sets whether both projections have biases. The default is false.</summary>
    public bool ProjectionBias { get; init; }

    /// <summary>Gets or sets the epsilon of the norms of B and C. The default, null, means that of the block.</summary>
    public double? SelectionNormEpsilon { get; init; }

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed as one matrix product, a power of two. The default is 64.
    /// </summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>Gets or sets the range of time steps at the start of training, log-uniform. The default is 0.001 to 0.1.</summary>
    public Interval TimeStepRange { get; init; } = new(1e-3, 0.1);

    /// <summary>Gets or sets the minimum time step at the start of training. The default is 1e-4.</summary>
    public double TimeStepFloor { get; init; } = 1e-4;

    /// <summary>Gets the number of heads (H).</summary>
    [JsonIgnore]
    public int Heads => InnerWidth / HeadSize;

    /// <summary>Gets the number of angles: pairs of state values that are rotated.</summary>
    [JsonIgnore]
    public int Angles => (int)(StateSize * RotaryFraction) / 2;

    /// <summary>Gets the letter <c>N</c>. Patterns can contain <c>3</c> instead.</summary>
    [JsonIgnore]
    public override string Symbol => "N";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) => InnerWidth != 0 ? this : this with { InnerWidth = checked(2 * width) };

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(HeadSize, "headSize");
        Require.Size(StateSize, "stateSize");
        Require.Size(InnerWidth, "innerWidth");
        Require.Divides(HeadSize, "headSize", InnerWidth, "innerWidth");
        Require.Size(Groups, "groups");
        Require.Divides(Groups, "groups", Heads, "heads");
        Require.That(RotaryFraction is 0.5 or 1, "rotaryFraction", RotaryFraction, "0.5 or 1");
        Require.That(Angles >= 1, "stateSize", StateSize, "a state of which at least one pair is rotated");
        Require.Positive(DecayFloor, "decayFloor");
        if (SelectionNormEpsilon is { } epsilon) Require.Positive(epsilon, "selectionNormEpsilon");
        Require.PowerOfTwo(ChunkSize, "chunkSize");
        Interval.CheckPositive(TimeStepRange, "timeStepRange");
        Require.NotNegative(TimeStepFloor, "timeStepFloor");
    }

    /// <summary>Gets the width of the input projection: z, x, B, C, time steps, decays, trapezoid weights, angles.</summary>
    internal long ProjectedWidth => 2L * InnerWidth + 2L * Groups * StateSize + 3L * Heads + Angles;

    /// <inheritdoc/>
    public override long CountParameters(int width) =>
        (ProjectedWidth + InnerWidth) * width + (ProjectionBias ? ProjectedWidth + width : 0)
        + 2L * Heads + 2L * Heads * StateSize + 2L * StateSize;                                      // dt_bias, D; biases and norms of B and C

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => ((double)ProjectedWidth + InnerWidth) * width;

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen)
    {
        // the rotation of B and C, and the part of the next token in the input
        double own = 12.0 * Heads * Angles + 2.0 * Heads * StateSize + 2.0 * InnerWidth;
        // decay, what is written, what C reads
        if (accounting == FlopAccounting.Paper) return own + 5.0 * InnerWidth * StateSize;
        double states = 4.0 * InnerWidth * StateSize;
        if (seen.RowLength is not { } length) return own + states;
        double chunk = Math.Min(ChunkSize, length);
        return own + 2.0 * chunk * (Heads * (double)StateSize + InnerWidth) + states;
    }

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => new(
        Scans: ((long)InnerWidth * StateSize + Heads * ((long)Angles + StateSize) + InnerWidth) * MixerCache.ScanElement(elementSize));

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) =>
        2.0 * (InnerWidth * (double)StateSize + Heads * ((double)Angles + StateSize) + InnerWidth);

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // projected; x before and after its weight, y, what is projected out; B and C of every head before and after the rotation
        double activations = ((double)ProjectedWidth + 4.0 * InnerWidth + 4.0 * Heads * StateSize) * step.ElementSize;
        // in float32: time steps, decays and weights, cosines and sines, and a state at each chunk
        return activations + sizeof(float) * (8.0 * Heads + 2.0 * Heads * Angles + (double)InnerWidth * StateSize / ChunkSize);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Mamba-3", FormattableString.Invariant($"Mamba-3 {Heads}x{HeadSize}, state {StateSize}"),
        $"{MixerDescription.Counted(Heads, "head")} × {HeadSize}, state {StateSize}", MixerColor.Mamba3);
}
