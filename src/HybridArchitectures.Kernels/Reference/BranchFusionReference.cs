using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>Implements the formula of <see cref="Operators.BranchFusion"/>, with libtorch's gradients.</summary>
public static class BranchFusionReference
{
    /// <summary>Computes the operator.</summary>
    /// <inheritdoc cref="Operators.BranchFusion.Forward"/>
    public static Tensor Forward(FusionBranch first, FusionBranch second, FusionKind kind, Tensor? gate = null, double epsilon = 1e-5)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        Require.Defined(kind);
        if (kind == FusionKind.Gate) Require.Alive(gate);
        using var scope = NewDisposeScope();
        return Join(Branch(first, epsilon), Branch(second, epsilon), kind, gate).to(first.Value.dtype).MoveToOuterDisposeScope();
    }

    internal static Tensor Join(Tensor first, Tensor second, FusionKind kind, Tensor? gate)
    {
        switch (kind)
        {
            case FusionKind.Add: return first.add(second, Scalars.One);
            case FusionKind.Difference: return first - second;
            case FusionKind.Concat: return cat([first, second], -1);
            default:
                var share = gate!.to(Precision.Wide(first)).sigmoid().to(first.dtype);
                return second.add(share * (first - second), Scalars.One);
        }
    }

    static Tensor Branch(FusionBranch branch, double epsilon)
    {
        var value = branch.Groups > 0 ? RmsNormReference.Forward(Precision.Widen(branch.Value), null, epsilon, branch.Groups)
            : Precision.Widen(branch.Value);
        return branch.Weight is null ? value : value * branch.Weight.to(value.dtype);
    }
}
