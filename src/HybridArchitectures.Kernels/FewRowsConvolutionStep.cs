using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes a causal convolution over some outputs of a product of a few rows, which are one token or a few tokens of each sequence. It updates the
/// state.
/// </summary>
/// <param name="State">(sequences, width - 1, channels), bfloat16 on a GPU and float32 on the CPU, newest last.</param>
/// <param name="Weight">(channels, width) float32.</param>
/// <param name="Bias">(channels) float32, or null.</param>
/// <param name="First">The output that is the first channel.</param>
/// <param name="IsSilu">Whether SiLU follows.</param>
sealed record FewRowsConvolutionStep(Tensor State, Tensor Weight, Tensor? Bias, int First, bool IsSilu)
{
    /// <summary>Gets the number of tokens of each sequence. The default is 1.</summary>
    public long Length { get; init; } = 1;

    /// <summary>Gets the memory for the state before several tokens, like <see cref="State"/>; null for one token.</summary>
    public Tensor? Before { get; init; }

    /// <summary>Gets the memory for the inputs of several tokens, (sequences, length, channels) bfloat16; null for one token.</summary>
    public Tensor? Inputs { get; init; }

    /// <summary>Specifies the maximum width of a filter.</summary>
    const int MaxWidth = 8;

    /// <summary>Gets whether a product on the CPU can compute it.</summary>
    public bool IsServedOnCpu => Length == 1 && State.dtype == ScalarType.Float32 && State.is_contiguous() && Weight.dtype == ScalarType.Float32
        && Weight.is_contiguous() && (Bias is null || (Bias.dtype == ScalarType.Float32 && Bias.is_contiguous()));

    /// <summary>Gets whether a product on a GPU can compute it.</summary>
    public bool IsServed => State.dtype == ScalarType.BFloat16 && State.is_contiguous() && Weight.dtype == ScalarType.Float32
        && Weight.is_contiguous() && Weight.size(1) is >= 2 and <= MaxWidth && Bias is null or { dtype: ScalarType.Float32 };
}
