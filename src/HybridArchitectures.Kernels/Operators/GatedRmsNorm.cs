using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Implements RMSNorm with a SiLU gate, as at the end of Mamba-2 blocks (arXiv 2405.21060).</summary>
public static class GatedRmsNorm
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.GatedRmsNormBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(GatedRmsNorm));

    /// <summary>Computes norm(x * silu(gate)) * weight, or norm(x) * weight * silu(gate) if <paramref name="normBeforeGate"/> is true.</summary>
    /// <param name="x">
    /// The input, shape (..., width), floating point. For bfloat16, statistics and products are float32 and rounded once at the end.
    /// </param>
    /// <param name="gate">The gate, with the shape and dtype of <paramref name="x"/>.</param>
    /// <param name="weight">The weight, shape (width), float32 or in the dtype of <paramref name="x"/>. Null means none.</param>
    /// <param name="epsilon">The number added to the mean square, above 0. The default is 1e-5.</param>
    /// <param name="groups">The number of equal groups that are normalized separately, a divisor of the width. The default is 1.</param>
    /// <param name="normBeforeGate">Whether the gate multiplies the normalized value. The default, false, normalizes the gated value.</param>
    /// <returns>The output, with the shape and dtype of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static Tensor Forward(Tensor x, Tensor gate, Tensor? weight, double epsilon = 1e-5, int groups = 1, bool normBeforeGate = false)
    {
        Require.Alive(gate);
        var inputs = new NormInputs(x, gate, weight, epsilon, groups, normBeforeGate);
        inputs.Check();
        return BackendFor(x) switch
        {
            KernelBackend.Cpu => RmsNorm.Vectorized(inputs),
            KernelBackend.Cuda when x.NumberOfElements > 0 => NormCuda.Apply(inputs),
            _ => GatedRmsNormReference.Forward(x, gate, weight, epsilon, groups, normBeforeGate),
        };
    }
}
