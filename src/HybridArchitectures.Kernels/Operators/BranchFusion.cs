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
        Require.Alive(value);
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
        var inputs = new BranchFusionInputs(first, second, kind, gate, epsilon);
        inputs.Check();
        return BackendFor(first.Value) switch
        {
            KernelBackend.Cuda => BranchFusionCuda.Apply(inputs),
            KernelBackend.Cpu => Composed(inputs),
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
}
