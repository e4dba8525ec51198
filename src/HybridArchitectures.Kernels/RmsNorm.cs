using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Root-mean-square normalisation (arXiv 1910.07467), over the whole last dimension or over equal parts of it.</summary>
public static class RmsNorm
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(RmsNorm));

    /// <summary>x / sqrt(mean(x^2) + epsilon) * weight, with the mean over each of <paramref name="groups"/> equal parts of the last dimension.</summary>
    /// <param name="x">(..., width), floating point. Statistics and products are float32 for bfloat16 input, rounded once at the end.</param>
    /// <param name="weight">(width), float32 or of the type of <paramref name="x"/>; null for none.</param>
    /// <param name="epsilon">Added to the mean square; above 0.</param>
    /// <param name="groups">A divisor of the width; with as many groups as heads each head is normed by itself.</param>
    /// <returns>Shape and type of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or number is not as said above.</exception>
    public static Tensor Forward(Tensor x, Tensor? weight, double epsilon = 1e-5, int groups = 1)
    {
        Checks.Floating(x);
        Checks.Groups(x, groups);
        Checks.Positive(epsilon);
        if (weight is not null) CheckWeight(weight, x);
        return BackendFor(x) switch
        {
            KernelBackend.Cpu => Vectorised(x, null, weight, epsilon, groups, false),
            KernelBackend.Cuda when x.NumberOfElements > 0 => NormCuda.Apply(x, null, weight, epsilon, groups, false),
            _ => RmsNormReference.Forward(x, weight, epsilon, groups),
        };
    }

    /// <summary>The norm of x + residual, and that sum, which goes on as the next residual: one pass on a card.</summary>
    /// <param name="x">(..., width), floating point.</param>
    /// <param name="residual">Shape and type of <paramref name="x"/>.</param>
    /// <param name="weight">(width), float32 or of the type of <paramref name="x"/>; null for none.</param>
    /// <param name="epsilon">Added to the mean square; above 0.</param>
    /// <param name="groups">A divisor of the width: each of so many equal parts is normed by itself.</param>
    /// <returns>The normed sum, and the sum as rounded to the type of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or number is not as said above.</exception>
    public static (Tensor Output, Tensor Sum) ForwardSum(Tensor x, Tensor residual, Tensor? weight, double epsilon = 1e-5, int groups = 1)
    {
        Checks.Floating(x);
        Checks.Groups(x, groups);
        Checks.Positive(epsilon);
        Checks.SameShape(residual, x, nameof(x));
        Checks.Type(residual, x.dtype);
        Checks.SameDevice(residual, x, nameof(x));
        if (weight is not null) CheckWeight(weight, x);
        if (BackendFor(x) == KernelBackend.Cuda && x.NumberOfElements > 0) return NormCuda.ApplyToSum(x, residual, weight, epsilon, groups);
        var sum = x.add(residual, Scalars.One);
        return (Forward(sum, weight, epsilon, groups), sum);
    }

    internal static Tensor Vectorised(Tensor x, Tensor? gate, Tensor? weight, double epsilon, int groups, bool normFirst) => Autograd.Apply([x, gate, weight],
        context =>
        {
            var (output, inverse) = NormKernel.Forward(x, gate, weight, epsilon, groups, normFirst);
            context.Save(x, gate, weight, inverse);
            return [output];
        },
        context =>
        {
            var saved = context.Saved;
            var (dx, dGate, dWeight) = NormKernel.Backward(context.Gradients[0]!, saved[0]!, saved[1], saved[2], saved[3]!, groups, normFirst, context.Needs(2));
            return [dx, dGate, dWeight is null ? null : dWeight.to(saved[2]!.dtype)];
        })[0];

    internal static void CheckWeight(Tensor weight, Tensor x)
    {
        Checks.Shape(weight, [x.size(-1)], "one number per channel of x");
        Checks.ParameterType(weight, x, nameof(x));
        Checks.SameDevice(weight, x, nameof(x));
    }
}
