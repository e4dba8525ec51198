using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>The gated short convolution of LFM2 (arXiv 2511.23404): out(c * conv(b * x)), b, c and x projected from the input, each as wide as the model; the
/// convolution is causal, per channel and without nonlinearity.</summary>
public sealed record ShortConvolutionSpec : MixerSpec
{
    /// <summary>Taps of the convolution.</summary>
    public int ConvolutionWidth { get; init; } = 3;

    /// <summary>Biases on the convolution and both projections.</summary>
    public bool Bias { get; init; }

    /// <summary><c>C</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "C";

    /// <inheritdoc/>
    public override void Check(int width) => Require.Size(ConvolutionWidth, "convolutionWidth");

    /// <inheritdoc/>
    public override long CountParameters(int width) => 4L * width * width + (long)width * ConvolutionWidth + (Bias ? 5L * width : 0);
}
