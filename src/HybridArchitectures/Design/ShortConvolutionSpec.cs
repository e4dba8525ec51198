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

    /// <summary>Gets <c>C</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "C";

    /// <inheritdoc/>
    public override void Check(int width) => Require.Size(ConvolutionWidth, "convolutionWidth");

    /// <inheritdoc/>
    public override long CountParameters(int width) => 4L * width * width + (long)width * ConvolutionWidth + (Bias ? 5L * width : 0);
}
