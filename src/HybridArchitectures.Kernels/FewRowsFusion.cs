using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Specifies how a product of a few rows normalizes its input.</summary>
enum FewRowsNorm
{
    /// <summary>The input is not normalized.</summary>
    None,

    /// <summary>The product reads RMSNorm(x).</summary>
    Plain,

    /// <summary>The product reads RMSNorm(x silu(gate)).</summary>
    Gated,
}

/// <summary>
/// Describes what a product of a few rows computes in the same pass over its weights: one launch on a GPU, the same tasks on the CPU. At most one of
/// the last four is set.
/// </summary>
/// <param name="Norm">The norm of the input.</param>
/// <param name="Scale">The scale of the normalized input, (inputs) float32; null for 1.</param>
/// <param name="Epsilon">The epsilon of the norm.</param>
/// <param name="Gate">The gate of <see cref="FewRowsNorm.Gated"/>, as x.</param>
/// <param name="Residual">The residual that is added to the result, (rows, outputs) in the type of x, or null.</param>
/// <param name="Cache">The cache that the second and third projection, keys and values, are written to; null if they are results.</param>
/// <param name="Convolution">A convolution that follows, or null.</param>
/// <param name="IsWide">Whether the result, rounded to bfloat16, is written as float32.</param>
readonly record struct FewRowsFusion(FewRowsNorm Norm = FewRowsNorm.None, Tensor? Scale = null, double Epsilon = 0, Tensor? Gate = null,
    Tensor? Residual = null, CacheTarget? Cache = null, FewRowsConvolutionStep? Convolution = null, bool IsWide = false);
