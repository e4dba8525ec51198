using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Represents silu(gate) * up as the input of a projection.</summary>
sealed record SwiGluProduct(SwiGluInputs Inputs) : IProjectionInput<SwiGluProduct>
{
    public SwiGluProduct(Tensor gate, Tensor up) : this(new SwiGluInputs(gate, up)) { }

    /// <summary>
    /// Gets whether nothing else reads the memory of gate and up after the forward pass, and none is a leaf. Their gradients then take it, on a GPU.
    /// The default is false.
    /// </summary>
    public bool OwnsInputs { get; init; }

    public Tensor Like => Inputs.Gate;

    public long[] Shape => Inputs.Gate.shape;

    public IReadOnlyList<Tensor?> Differentiable => [Inputs.Gate, Inputs.Up];

    public SwiGluProduct? Known => this;

    public bool HasKernels => SwiGlu.BackendFor(Inputs.Gate) is KernelBackend.Cpu or KernelBackend.Cuda;

    public SwiGluProduct Map(Func<Tensor?, Tensor?> replace) => this with { Inputs = Inputs.Map(replace) };

    public Tensor Forward() => SwiGlu.Forward(Inputs.Gate, Inputs.Up);

    public (Tensor Output, SwiGluProduct Saved) Compute()
    {
        Inputs.Check();
        var (gate, up) = Inputs;
        return (IsOnGpu ? SwiGluCuda.Forward(gate, up) : SwiGluKernel.Forward(gate, up), this);
    }

    public (Tensor?[] Gradients, Tensor? Output) Differentiate(Tensor gradient, BackwardContext context, bool wantsOutput)
    {
        var (gate, up) = Inputs;
        if (IsOnGpu)
        {
            var output = wantsOutput ? gradient : null;
            bool inPlace = OwnsInputs && gate.is_contiguous() && up.is_contiguous() && !LibTorch.CurrentBackwardKeepsGraph();
            var (dGate, dUp) = SwiGluCuda.Backward(gradient, gate, up, output, inPlace);
            return ([dGate, dUp], output);
        }
        var results = SwiGluKernel.Backward(gradient, gate, up);
        return ([results.Gate, results.Up], wantsOutput ? SwiGluKernel.Forward(gate, up) : null);
    }

    bool IsOnGpu => SwiGlu.BackendFor(Inputs.Gate) == KernelBackend.Cuda;
}
