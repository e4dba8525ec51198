using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Describes a step of a causal convolution over some outputs of a product of a few rows. The step updates the state.</summary>
/// <param name="State">(rows, width - 1, channels) bfloat16, newest last.</param>
/// <param name="Weight">(channels, width) float32.</param>
/// <param name="Bias">(channels) float32, or null.</param>
/// <param name="First">The output that is the first channel.</param>
/// <param name="IsSilu">Whether SiLU follows.</param>
sealed record FewRowsConvolutionStep(Tensor State, Tensor Weight, Tensor? Bias, int First, bool IsSilu)
{
    /// <summary>Specifies the maximum width of a filter.</summary>
    const int MaxWidth = 8;

    /// <summary>Gets whether a product can compute it.</summary>
    public bool IsServed => State.dtype == ScalarType.BFloat16 && State.is_contiguous() && Weight.dtype == ScalarType.Float32
        && Weight.is_contiguous() && Weight.size(1) is >= 2 and <= MaxWidth && Bias is null or { dtype: ScalarType.Float32 };
}
