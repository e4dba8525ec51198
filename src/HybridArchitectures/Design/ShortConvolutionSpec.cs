using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes the gated short convolution of LFM2 (arXiv 2511.23404): out(c * conv(b * x)). b, c and x are projections of the input, each as wide as
/// the model. The convolution is causal, per channel, and has no nonlinearity.
/// </summary>
public sealed record ShortConvolutionSpec : MixerSpec
{
    /// <summary>Gets or sets the width of the convolution. The default is 3.</summary>
    public int ConvolutionWidth { get; init; } = 3;

    /// <summary>Gets or sets whether the convolution and both projections have biases. The default is false.</summary>
    public bool Bias { get; init; }

    /// <summary>Gets the letter <c>C</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "C";

    internal override MixerKind Kind => MixerKind.Other;

    internal override bool StoresNarrowStates => true;

    /// <inheritdoc/>
    public override void Check(int width) => Require.Size(ConvolutionWidth, "convolutionWidth");

    /// <inheritdoc/>
    public override long CountParameters(int width) => 4L * width * width + (long)width * ConvolutionWidth + (Bias ? 5L * width : 0);

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => 4.0 * width * width;

    /// <summary>
    /// Returns 0: the convolution's taps are parameters, which <see cref="FlopAccounting.Paper"/> counts as such, and it is no matrix product.
    /// </summary>
    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) =>
        new(Convolutions: (ConvolutionWidth - 1L) * width * elementSize);

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * ConvolutionWidth * width;

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // projection (three times the width), the convolution's input and output, what is projected out
        return 6.0 * width * step.ElementSize;
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Short convolution", FormattableString.Invariant($"short convolution of {ConvolutionWidth}"),
        MixerDescription.Counted(ConvolutionWidth, "tap"), MixerColor.Convolution);
}
