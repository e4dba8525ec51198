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

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        CheckBranch(First, "first");
        CheckBranch(Second, "second");
        Require.Positive(Epsilon, "epsilon");
        Require.Defined(Kind, "kind");
        CheckShapes(First.Value, Second.Value);
        if (Kind == FusionKind.Gate != Gate is not null)
            throw Gate is null ? Require.Refusal("gate", null, "one number per channel, because kind is Gate")
                : Require.Unfit("gate", $"gate has a value, but kind is {Kind}", "null");
        if (Gate is not null) CheckVector(Gate, "gate", First.Value);
    }

    void CheckShapes(Tensor first, Tensor second)
    {
        if (first.dtype != second.dtype) throw Require.Refusal("second", second.dtype, $"{first.dtype}, the type of first");
        Checks.SameDevice(second, first, "first", "second");
        bool fits = first.dim() == second.dim();
        for (int i = 0; fits && i < first.dim() - (Kind == FusionKind.Concat ? 1 : 0); i++) fits = first.size(i) == second.size(i);
        if (!fits)
            throw Require.Unfit("second", $"second has shape {Checks.Describe(second)}",
                $"that of first, {Checks.Describe(first)}{(Kind == FusionKind.Concat ? ", but for the last dimension" : "")}");
    }

    static void CheckBranch(FusionBranch branch, string name)
    {
        var value = branch.Value;
        Require.Alive(value, name);
        if (value.dtype is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float64))
            throw Require.Refusal(name, value.dtype, "Float32, BFloat16 or Float64");
        if (value.dim() == 0 || value.size(-1) == 0)
            throw Require.Unfit(name, $"{name} has shape {Checks.Describe(value)}", "(..., width) with a width of at least 1");
        if (branch.Groups < 0 || (branch.Groups > 0 && value.size(-1) % branch.Groups != 0))
            throw Require.OutOfRange($"{name}.Groups", branch.Groups, $"0 or a divisor of its width, {value.size(-1)}");
        if (branch.Weight is not null) CheckVector(branch.Weight, name, value);
    }

    static void CheckVector(Tensor vector, string name, Tensor value)
    {
        if (vector.dim() != 1 || vector.size(0) != value.size(-1))
            throw Require.Unfit(name, $"{name} has a vector of shape {Checks.Describe(vector)}", $"({value.size(-1)}), one number per channel");
        Checks.ParameterType(vector, value, "the branches", name);
        Checks.SameDevice(vector, value, "the branches", name);
    }

    static FusionBranch Map(FusionBranch branch, Func<Tensor?, Tensor?> replace) =>
        branch with { Value = replace(branch.Value)!, Weight = replace(branch.Weight) };
}
