using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Root-mean-square normalisation with a SiLU gate, as Mamba-2 blocks end with (arXiv 2405.21060).</summary>
public static class GatedRmsNorm
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(GatedRmsNorm));

    /// <summary>norm(x * silu(gate)) * weight, or with <paramref name="normBeforeGate"/> norm(x) * weight * silu(gate).</summary>
    /// <param name="x">(..., width), floating point. Statistics and products are float32 for bfloat16 input, rounded once at the end.</param>
    /// <param name="gate">Shape and type of <paramref name="x"/>.</param>
    /// <param name="weight">(width), float32 or of the type of <paramref name="x"/>; null for none.</param>
    /// <param name="epsilon">Added to the mean square; above 0.</param>
    /// <param name="groups">A divisor of the width: each of so many equal parts is normed by itself.</param>
    /// <param name="normBeforeGate">Whether the gate is applied to the normed value (true) or to the value that is normed (false).</param>
    /// <returns>Shape and type of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or number is not as said above.</exception>
    public static Tensor Forward(Tensor x, Tensor gate, Tensor? weight, double epsilon = 1e-5, int groups = 1, bool normBeforeGate = false)
    {
        Checks.Floating(x);
        Checks.Groups(x, groups);
        Checks.Positive(epsilon);
        Checks.SameShape(gate, x, nameof(x));
        Checks.Type(gate, x.dtype);
        Checks.SameDevice(gate, x, nameof(x));
        if (weight is not null) RmsNorm.CheckWeight(weight, x);
        return BackendFor(x) switch
        {
            KernelBackend.Cpu => RmsNorm.Vectorised(x, gate, weight, epsilon, groups, normBeforeGate),
            KernelBackend.Cuda when x.NumberOfElements > 0 => NormCuda.Apply(x, gate, weight, epsilon, groups, normBeforeGate),
            _ => GatedRmsNormReference.Forward(x, gate, weight, epsilon, groups, normBeforeGate),
        };
    }
}
