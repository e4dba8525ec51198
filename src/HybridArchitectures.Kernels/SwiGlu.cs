using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>The gated activation of SwiGLU feed-forward layers (arXiv 2002.05202).</summary>
public static class SwiGlu
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(SwiGlu));

    /// <summary>silu(gate) * up.</summary>
    /// <param name="gate">Any shape, floating point. Computed in float32 for bfloat16 input, rounded once at the end.</param>
    /// <param name="up">Shape and type of <paramref name="gate"/>.</param>
    /// <returns>Shape and type of <paramref name="gate"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type or device is not as said above.</exception>
    public static Tensor Forward(Tensor gate, Tensor up)
    {
        Checks.Floating(gate);
        Checks.SameShape(up, gate, nameof(gate));
        Checks.Type(up, gate.dtype);
        Checks.SameDevice(up, gate, nameof(gate));
        if (BackendFor(gate) == KernelBackend.Reference) return SwiGluReference.Forward(gate, up);
        if (BackendFor(gate) == KernelBackend.Cuda) return SwiGluCuda.Apply(gate, up);
        return Autograd.Apply([gate, up],
            context =>
            {
                context.Save(gate, up);
                return [SwiGluKernel.Forward(gate, up)];
            },
            context =>
            {
                var (dGate, dUp) = SwiGluKernel.Backward(context.Gradients[0]!, context.Saved[0]!, context.Saved[1]!);
                return [dGate, dUp];
            })[0];
    }
}
