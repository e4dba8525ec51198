using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Implements the gated activation of SwiGLU feed-forwards (arXiv 2002.05202).</summary>
public static class SwiGlu
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.SwiGluBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(SwiGlu));

    /// <summary>Computes silu(gate) * up.</summary>
    /// <param name="gate">The gate, any shape, floating point. bfloat16 is computed in float32 and rounded once at the end.</param>
    /// <param name="up">The up projection, with the shape and dtype of <paramref name="gate"/>.</param>
    /// <returns>The output, with the shape and dtype of <paramref name="gate"/>.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Forward(Tensor gate, Tensor up)
    {
        var inputs = new SwiGluInputs(gate, up);
        inputs.Check();
        return BackendFor(gate) switch
        {
            KernelBackend.Cpu => Vectorized(inputs),
            KernelBackend.Cuda => SwiGluCuda.Apply(gate, up),
            _ => SwiGluReference.Forward(gate, up),
        };
    }

    static Tensor Vectorized(SwiGluInputs inputs) => Autograd.Apply<SwiGluInputs>([inputs.Gate, inputs.Up],
        _ => ([SwiGluKernel.Forward(inputs.Gate, inputs.Up)], inputs), static (context, saved) =>
        {
            var (dGate, dUp) = SwiGluKernel.Backward(context.Gradients[0]!, saved.Gate, saved.Up);
            return [dGate, dUp];
        })[0];
}
