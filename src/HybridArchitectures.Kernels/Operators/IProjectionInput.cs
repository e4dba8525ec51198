using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Represents an operator with one output that only a projection reads. <see cref="RecomputedLinear"/> saves the inputs of the operator and not its
/// output, which it computes again for the gradient of the weight.
/// </summary>
interface IProjectionInput<TSelf> : ISavedTensors<TSelf> where TSelf : class, IProjectionInput<TSelf>
{
    /// <summary>Gets the first input of the operator. The output has its dtype and device.</summary>
    Tensor Like { get; }

    /// <summary>Gets the shape of the output.</summary>
    long[] Shape { get; }

    /// <summary>Gets the inputs in which the operator is differentiable; null where an optional one is absent.</summary>
    IReadOnlyList<Tensor?> Differentiable { get; }

    /// <summary>Gets whether <see cref="Compute"/> and <see cref="Differentiate"/> serve these inputs.</summary>
    bool HasKernels { get; }

    /// <summary>Checks the inputs and computes the output, with a recorded gradient.</summary>
    Tensor Forward();

    /// <summary>Computes the output without recording, and returns it with what <see cref="Differentiate"/> needs.</summary>
    (Tensor Output, TSelf Saved) Compute();

    /// <summary>Gets what <see cref="Differentiate"/> needs if it does not depend on <see cref="Compute"/>; null, the default, if it does.</summary>
    TSelf? Known => null;

    /// <summary>Returns the gradient of each of <see cref="Differentiable"/>, and the output again, with the bits of <see cref="Compute"/>.</summary>
    /// <param name="gradient">The gradient of the output. If the output is wanted, it is contiguous, and the output may take its memory.</param>
    /// <param name="context">The context of a node whose first inputs are <see cref="Differentiable"/>.</param>
    /// <param name="wantsOutput">Whether the output is needed. If false, the gradient is not changed.</param>
    (Tensor?[] Gradients, Tensor? Output) Differentiate(Tensor gradient, BackwardContext context, bool wantsOutput);
}
