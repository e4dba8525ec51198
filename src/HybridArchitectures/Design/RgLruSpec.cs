using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes the recurrent block of Griffin and RecurrentGemma (arXiv 2402.19427, sections 2.3 and 2.4):
/// out(activation(gate(x)) * rglru(conv(in(x)))). The real-gated linear recurrent unit (RG-LRU) has one state and one decay per channel. Its decay
/// and its input have gates that are computed from the channels of the same head.
/// </summary>
public sealed record RgLruSpec : MixerSpec
{
    /// <summary>
    /// Gets or sets the number of heads: the blocks of the block-diagonal matrices of both gates, a divisor of <see cref="InnerWidth"/>.
    /// </summary>
    public required int Heads { get; init; }

    /// <summary>Gets or sets the number of channels of the recurrence. The default, 0, means the width of the model.</summary>
    public int InnerWidth { get; init; }

    /// <summary>Gets or sets the width of the causal convolution. The default is 4.</summary>
    public int ConvolutionWidth { get; init; } = 4;

    /// <summary>Gets or sets the nonlinearity of the branch that multiplies the output. The default is the tanh approximation of GELU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); } = Activation.GeluTanh;

    /// <summary>
    /// Gets or sets the range of the decays at the start of training, with the recurrence gate open: squares are uniform. The default is 0.9 to
    /// 0.999.
    /// </summary>
    public Interval DecayRange { get; init; } = new(0.9, 0.999);

    /// <summary>Gets the number of channels of a head.</summary>
    [JsonIgnore]
    public int HeadSize => InnerWidth / Heads;

    /// <summary>Gets the letter <c>R</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "R";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override MixerSpec? WithConvolution() => ConvolutionWidth == 1 ? this with { ConvolutionWidth = 4 } : null;

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) => InnerWidth != 0 ? this : this with { InnerWidth = width };

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(InnerWidth, "innerWidth");
        Require.Divides(Heads, "heads", InnerWidth, "innerWidth");
        Require.Size(ConvolutionWidth, "convolutionWidth");
        Interval.CheckPositive(DecayRange, "decayRange");
        Require.That(DecayRange.Maximum < 1, "decayRange.maximum", DecayRange.Maximum, "a number below 1");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) =>
        3L * InnerWidth * width + 2L * InnerWidth + width                                         // three projections with biases
        + (long)InnerWidth * (ConvolutionWidth + 1) + 2L * InnerWidth * (HeadSize + 1) + InnerWidth;     // convolution; gates; decay

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => 3.0 * InnerWidth * width + 2.0 * InnerWidth * HeadSize;

    /// <summary>Returns 4 per channel: the multiplier of the input, what is written, the decay of the state, and their sum.</summary>
    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 4.0 * InnerWidth;

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => new(
        Convolutions: (ConvolutionWidth - 1L) * InnerWidth * elementSize, Scans: (long)InnerWidth * MixerCache.ScanElement(elementSize));

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * InnerWidth * (1.0 + ConvolutionWidth);

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // the convolution's input and output, the branch before and after its nonlinearity, what is projected out
        double activations = 5.0 * InnerWidth * step.ElementSize;
        // both gates, the decay, its logarithm, the multiplier of the input, and the states
        return activations + 6.0 * InnerWidth * sizeof(float);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("RG-LRU", FormattableString.Invariant($"RG-LRU {InnerWidth}, {Heads} heads"),
        FormattableString.Invariant($"{InnerWidth:N0} channels, ") + MixerDescription.Counted(Heads, "head"), MixerColor.RgLru);
}
