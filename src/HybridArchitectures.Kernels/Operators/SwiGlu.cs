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
        var product = new SwiGluProduct(gate, up);
        product.Inputs.Check();
        if (!product.HasKernels) return SwiGluReference.Forward(gate, up);
        return Autograd.Apply<SwiGluProduct>(product.Differentiable, _ => ([product.Compute().Output], product),
            static (context, saved) => saved.Differentiate(context.Gradients[0]!, context, wantsOutput: false).Gradients)[0];
    }
}
