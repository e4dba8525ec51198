using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>Implements the formula of <see cref="Operators.RmsNorm"/>, for any floating-point dtype and device, with libtorch's gradients.</summary>
public static class RmsNormReference
{
    /// <summary>Computes x / sqrt(mean(x^2) + epsilon) * weight over each of <paramref name="groups"/> equal groups of the last dimension.</summary>
    public static Tensor Forward(Tensor x, Tensor? weight, double epsilon = 1e-5, int groups = 1)
    {
        Require.Alive(x);
        using var scope = NewDisposeScope();
        var grouped = Precision.Widen(x).unflatten(x.dim() - 1, groups, x.size(-1) / groups);              // (..., groups, width / groups)
        var normed = (grouped * rsqrt((grouped * grouped).mean([-1], true).add(Scalars.From(epsilon), Scalars.One))).flatten(-2);
        if (weight is not null) normed = normed * weight;
        return normed.to(x.dtype).MoveToOuterDisposeScope();
    }
}
