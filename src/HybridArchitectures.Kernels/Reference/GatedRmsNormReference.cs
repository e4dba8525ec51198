using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the formula of <see cref="Operators.GatedRmsNorm"/>, for any floating-point dtype and device, with libtorch's gradients.
/// </summary>
public static class GatedRmsNormReference
{
    /// <summary>Computes norm(x * silu(gate)) * weight, or norm(x) * weight * silu(gate) if the norm comes first.</summary>
    public static Tensor Forward(Tensor x, Tensor gate, Tensor? weight, double epsilon = 1e-5, int groups = 1, bool normBeforeGate = false)
    {
        Require.Alive(x);
        Require.Alive(gate);
        using var scope = NewDisposeScope();
        var (wide, open) = (Precision.Widen(x), nn.functional.silu(Precision.Widen(gate)));
        var result = normBeforeGate
            ? RmsNormReference.Forward(wide, weight, epsilon, groups) * open
            : RmsNormReference.Forward(wide * open, weight, epsilon, groups);
        return result.to(x.dtype).MoveToOuterDisposeScope();
    }
}
