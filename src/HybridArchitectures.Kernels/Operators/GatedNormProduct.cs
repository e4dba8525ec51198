using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Represents an RMS norm with a SiLU gate as the input of a projection.</summary>
/// <param name="Inputs">The inputs, with a gate.</param>
/// <param name="JoinsHeads">Whether the last two dimensions of the output, heads and their channels, become one.</param>
/// <param name="Inverse">1 / root mean square of each group; null before it is computed.</param>
sealed record GatedNormProduct(NormInputs Inputs, bool JoinsHeads = false, Tensor? Inverse = null) : IProjectionInput<GatedNormProduct>
{
    public Tensor Like => Inputs.X;

    public long[] Shape
    {
        get
        {
            var shape = Inputs.X.shape;
            return JoinsHeads ? [.. shape[..^2], shape[^2] * shape[^1]] : shape;
        }
    }

    public IReadOnlyList<Tensor?> Differentiable => [Inputs.X, Inputs.Gate, Inputs.Weight];

    public bool HasKernels => IsOnGpu || GatedRmsNorm.BackendFor(Inputs.X) == KernelBackend.Cpu;

    public GatedNormProduct Map(Func<Tensor?, Tensor?> replace) => this with { Inputs = Inputs.Map(replace), Inverse = replace(Inverse) };

    public Tensor Forward() =>
        Shaped(GatedRmsNorm.Forward(Inputs.X, Inputs.Gate!, Inputs.Weight, Inputs.Epsilon, Inputs.Groups, Inputs.NormFirst));

    Tensor Shaped(Tensor output) => JoinsHeads ? output.flatten(-2) : output;

    public (Tensor Output, GatedNormProduct Saved) Compute()
    {
        Inputs.Check();
        var (output, inverse) = IsOnGpu ? NormCuda.Forward(Inputs) : NormKernel.Forward(Inputs);
        return (Shaped(output), this with { Inverse = inverse });
    }

    public (Tensor?[] Gradients, Tensor? Output) Differentiate(Tensor gradient, BackwardContext context, bool wantsOutput)
    {
        var given = gradient.view(Inputs.X.shape);
        if (IsOnGpu)
        {
            var (dX, dGate, dWeight) = NormCuda.Backward(given, null, Inputs, Inverse!, context.Needs(2), wantsOutput ? given : null);
            return ([dX, dGate, dWeight], wantsOutput ? gradient : null);
        }
        var results = NormKernel.Backward(given, Inputs, Inverse!, context.Needs(2));
        return ([results.X, results.Gate, results.Weight?.to(Inputs.Weight!.dtype)], wantsOutput ? Shaped(NormKernel.Forward(Inputs).Output) : null);
    }

    // the kernel does not serve empty tensors
    bool IsOnGpu => GatedRmsNorm.BackendFor(Inputs.X) == KernelBackend.Cuda && Inputs.X.NumberOfElements > 0;
}
