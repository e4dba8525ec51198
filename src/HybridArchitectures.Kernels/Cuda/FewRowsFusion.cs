using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>What a product of a few rows does to its input.</summary>
enum FewRowsNorm
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>RMSNorm of x.</summary>
    Plain,

    /// <summary>RMSNorm of x silu(gate).</summary>
    Gated,
}

/// <summary>What a product of a few rows does in addition to the product. At most one of the last four is given.</summary>
/// <param name="Norm">The norm of the input.</param>
/// <param name="Scale">What the normed input is multiplied by, (inputs) float32; null for 1.</param>
/// <param name="Epsilon">The epsilon of the norm.</param>
/// <param name="Gate">The gate of <see cref="FewRowsNorm.Gated"/>, as x.</param>
/// <param name="Residual">What is added to the result, (rows, outputs) bfloat16, or null.</param>
/// <param name="Cache">Where keys and values go, the second and third projection; null if they are results.</param>
/// <param name="Convolution">A convolution that follows, or null.</param>
/// <param name="IsWide">Whether the result, rounded to bfloat16, is written as float32.</param>
readonly record struct FewRowsFusion(FewRowsNorm Norm = FewRowsNorm.None, Tensor? Scale = null, double Epsilon = 0, Tensor? Gate = null,
    Tensor? Residual = null, CacheTarget? Cache = null, FewRowsConvolutionStep? Convolution = null, bool IsWide = false);
