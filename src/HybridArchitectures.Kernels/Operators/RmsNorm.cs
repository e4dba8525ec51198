using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Implements RMSNorm (arXiv 1910.07467), over the whole last dimension or over equal groups of it.</summary>
public static class RmsNorm
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.RmsNormBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(RmsNorm));

    /// <summary>
    /// Computes x / sqrt(mean(x^2) + epsilon) * weight, with the mean over each of <paramref name="groups"/> equal groups of the last dimension.
    /// </summary>
    /// <param name="x">
    /// The input, shape (..., width), floating point. For bfloat16, statistics and products are float32 and rounded once at the end.
    /// </param>
    /// <param name="weight">The weight, shape (width), float32 or in the dtype of <paramref name="x"/>. Null means none.</param>
    /// <param name="epsilon">The number added to the mean square, above 0. The default is 1e-5.</param>
    /// <param name="groups">
    /// The number of groups, a divisor of the width. With the number of heads, each head is normalized separately. The default is 1.
    /// </param>
    /// <returns>The output, with the shape and dtype of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static Tensor Forward(Tensor x, Tensor? weight, double epsilon = 1e-5, int groups = 1)
    {
        return Compute(new NormInputs(x, null, weight, epsilon, groups, NormFirst: false));
    }

    /// <summary>Computes the norm of inputs without a gate.</summary>
    internal static Tensor Compute(NormInputs inputs)
    {
        inputs.Check();
        return BackendFor(inputs.X) switch
        {
            KernelBackend.Cpu => Vectorized(inputs),
            KernelBackend.Cuda when inputs.X.NumberOfElements > 0 => NormCuda.Apply(inputs),
            _ => RmsNormReference.Forward(inputs.X, inputs.Weight, inputs.Epsilon, inputs.Groups),
        };
    }

    /// <summary>Computes the norm of x + residual, and the sum, which is the next residual. On a GPU, this is one pass.</summary>
    /// <param name="x">The input, shape (..., width), floating point.</param>
    /// <param name="residual">The residual, with the shape and dtype of <paramref name="x"/>.</param>
    /// <param name="weight">The weight, shape (width), float32 or in the dtype of <paramref name="x"/>. Null means none.</param>
    /// <param name="epsilon">The number added to the mean square, above 0. The default is 1e-5.</param>
    /// <param name="groups">The number of equal groups that are normalized separately, a divisor of the width. The default is 1.</param>
    /// <returns>The normalized sum, and the sum rounded to the dtype of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor Sum) ForwardSum(Tensor x, Tensor residual, Tensor? weight, double epsilon = 1e-5, int groups = 1)
    {
        var inputs = new NormInputs(x, null, weight, epsilon, groups, NormFirst: false);
        inputs.Check();
        inputs.CheckLikeX(residual, nameof(residual));
        if (BackendFor(x) == KernelBackend.Cuda && x.NumberOfElements > 0) return NormCuda.ApplyToSum(inputs, residual);
        var sum = x.add(residual, Scalars.One);
        return (Forward(sum, weight, epsilon, groups), sum);
    }

    /// <summary>
    /// Offers to compute the output of a norm again for operators that read it, until the offer is disposed. Returns null if no gradient is recorded,
    /// or the options say so.
    /// </summary>
    /// <param name="output">The output of <see cref="Forward"/> or <see cref="ForwardSum"/>.</param>
    /// <param name="x">The input of the norm, or the sum.</param>
    /// <param name="weight">The weight. Null means none.</param>
    /// <param name="epsilon">The number added to the mean square.</param>
    internal static IDisposable? Offer(Tensor output, Tensor x, Tensor? weight, double epsilon) =>
        !OperatorOptions.Current.RecomputeInputs ? null : Recomputation.Offer(output,
            new NormInputs(x, null, weight, epsilon, 1, NormFirst: false), static inputs => Forward(inputs.X, inputs.Weight, inputs.Epsilon));

    internal static Tensor Vectorized(NormInputs inputs) => Autograd.Apply<Saved>([inputs.X, inputs.Gate, inputs.Weight], _ =>
    {
        var (output, inverse) = NormKernel.Forward(inputs);
        return ([output], new Saved(inputs, inverse));
    }, static (context, saved) =>
    {
        var (dX, dGate, dWeight) = NormKernel.Backward(context.Gradients[0]!, saved.Inputs, saved.Inverse, context.Needs(2));
        return [dX, dGate, dWeight?.to(saved.Inputs.Weight!.dtype)];
    })[0];

    // Inverse: 1 / root mean square of each group
    sealed record Saved(NormInputs Inputs, Tensor Inverse) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), replace(Inverse)!);
    }
}
