using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Combines the two branches of an intra-layer hybrid before their joint projection (arXiv 2510.04800, section 3.2), in one pass: each branch is
/// normalized and scaled per channel, and the two are combined. Statistics are float32, also for bfloat16. On the CPU, the norms are this library's
/// and the rest is libtorch's.
/// </summary>
public static class BranchFusion
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.BranchFusionBackend);

    /// <summary>Returns the back end that serves branches like <paramref name="value"/>.</summary>
    public static KernelBackend BackendFor(Tensor value)
    {
        ArgumentNullException.ThrowIfNull(value);
        return SequenceChecks.Choose(Backend, value, nameof(BranchFusion));
    }

    /// <summary>Normalizes and combines the branches. Differentiable in both values, both weights and the gate.</summary>
    /// <param name="first">The state-space branch.</param>
    /// <param name="second">
    /// The attention branch. It has the shape and dtype of the first, except that its width can differ for <see cref="FusionKind.Concat"/>.
    /// </param>
    /// <param name="kind">How the branches are combined.</param>
    /// <param name="gate">The gate before the sigmoid, shape (width). It must be set for <see cref="FusionKind.Gate"/> only.</param>
    /// <param name="epsilon">The epsilon of the norms. The default is 1e-5.</param>
    /// <returns>The result, shape (..., width), or (..., width of the first + width of the second), in the dtype of the branches.</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static Tensor Forward(FusionBranch first, FusionBranch second, FusionKind kind, Tensor? gate = null, double epsilon = 1e-5)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        Check(first, nameof(first));
        Check(second, nameof(second));
        Require.Positive(epsilon);
        if (!Enum.IsDefined(kind))
            throw Require.OutOfRange(nameof(kind), kind, $"one of {string.Join(", ", Enum.GetNames<FusionKind>())}");
        Tensor a = first.Value, b = second.Value;
        if (a.dtype != b.dtype) throw Require.Refusal(nameof(second), b.dtype, $"{a.dtype}, the type of first");
        Checks.SameDevice(b, a, nameof(first), nameof(second));
        bool fits = a.dim() == b.dim();
        for (int i = 0; fits && i < a.dim() - (kind == FusionKind.Concat ? 1 : 0); i++) fits = a.size(i) == b.size(i);
        if (!fits)
            throw Require.Unfit(nameof(second), $"second has shape {Checks.Describe(b)}",
                $"that of first, {Checks.Describe(a)}{(kind == FusionKind.Concat ? ", but for the last dimension" : "")}");
        if (kind == FusionKind.Gate != gate is not null)
            throw gate is null ? Require.Refusal(nameof(gate), null, "one number per channel, because kind is Gate")
                : Require.Unfit(nameof(gate), $"gate has a value, but kind is {kind}", "null");
        if (gate is not null) Vector(gate, nameof(gate), a);
        return BackendFor(a) switch
        {
            KernelBackend.Cuda => BranchFusionCuda.Apply(new(first, second, kind, gate, epsilon)),
            KernelBackend.Cpu => Composed(new(first, second, kind, gate, epsilon)),
            _ => BranchFusionReference.Forward(first, second, kind, gate, epsilon),
        };
    }

    static Tensor Composed(BranchFusionInputs inputs)
    {
        using var scope = NewDisposeScope();
        Tensor Branch(FusionBranch branch) => branch.Groups > 0 ? RmsNorm.Forward(branch.Value, branch.Weight, inputs.Epsilon, branch.Groups)
            : branch.Weight is null ? branch.Value : branch.Value * branch.Weight.to(branch.Value.dtype);
        return BranchFusionReference.Join(Branch(inputs.First), Branch(inputs.Second), inputs.Kind, inputs.Gate).MoveToOuterDisposeScope();
    }

    static void Check(FusionBranch branch, string name)
    {
        var value = branch.Value;
        ArgumentNullException.ThrowIfNull(value, name);
        if (value.dtype is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float64))
            throw Require.Refusal(name, value.dtype, "Float32, BFloat16 or Float64");
        if (value.dim() == 0 || value.size(-1) == 0)
            throw Require.Unfit(name, $"{name} has shape {Checks.Describe(value)}", "(..., width) with a width of at least 1");
        if (branch.Groups < 0 || (branch.Groups > 0 && value.size(-1) % branch.Groups != 0))
            throw Require.OutOfRange($"{name}.Groups", branch.Groups, $"0 or a divisor of its width, {value.size(-1)}");
        if (branch.Weight is not null) Vector(branch.Weight, name, value);
    }

    static void Vector(Tensor vector, string name, Tensor value)
    {
        if (vector.dim() != 1 || vector.size(0) != value.size(-1))
            throw Require.Unfit(name, $"{name} has a vector of shape {Checks.Describe(vector)}", $"({value.size(-1)}), one number per channel");
        Checks.ParameterType(vector, value, "the branches", name);
        Checks.SameDevice(vector, value, "the branches", name);
    }
}
