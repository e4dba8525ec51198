using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Represents bfloat16 activations in float32 as the input of a projection with a float32 weight. The float32 values are not saved.
/// </summary>
/// <param name="X">The activations, shape (..., inputs).</param>
sealed record WidenedInput(Tensor X) : IProjectionInput<WidenedInput>
{
    public Tensor Like => X;

    public long[] Shape => X.shape;

    public IReadOnlyList<Tensor?> Differentiable => [X];

    public bool HasKernels => X.dtype == ScalarType.BFloat16;

    public WidenedInput Map(Func<Tensor?, Tensor?> replace) => new(replace(X)!);

    public Tensor Forward() => X.to(ScalarType.Float32);

    public (Tensor Output, WidenedInput Saved) Compute() => (Forward(), this);

    public (Tensor?[] Gradients, Tensor? Output) Differentiate(Tensor gradient, BackwardContext context, bool wantsOutput) =>
        ([context.Needs(0) ? gradient.to(X.dtype) : null], wantsOutput ? Forward() : null);
}
