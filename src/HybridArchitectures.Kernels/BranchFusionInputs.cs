using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of the fusion of two branches.</summary>
/// <param name="First">The state-space branch.</param>
/// <param name="Second">The attention branch.</param>
/// <param name="Kind">How the branches are combined.</param>
/// <param name="Gate">The gate before the sigmoid, shape (width). Null unless <paramref name="Kind"/> is Gate.</param>
/// <param name="Epsilon">The epsilon of the norms.</param>
sealed record BranchFusionInputs(FusionBranch First, FusionBranch Second, FusionKind Kind, Tensor? Gate, double Epsilon)
    : ISavedTensors<BranchFusionInputs>
{
    /// <summary>Gets the tensors in which the operator is differentiable.</summary>
    public Tensor?[] Differentiable => [First.Value, Second.Value, First.Weight, Second.Weight, Gate];

    public BranchFusionInputs Map(Func<Tensor?, Tensor?> replace) => this with
    {
        First = Map(First, replace), Second = Map(Second, replace), Gate = replace(Gate),
    };

    static FusionBranch Map(FusionBranch branch, Func<Tensor?, Tensor?> replace) =>
        branch with { Value = replace(branch.Value)!, Weight = replace(branch.Weight) };
}
