using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Computes nonlinearities.</summary>
static class Activations
{
    static readonly TorchSharp.Scalar Cubic = Scalars.From(0.044715), Slope = Scalars.From(Math.Sqrt(2 / Math.PI)), Half = Scalars.From(0.5);

    public static Tensor Apply(Activation activation, Tensor x)
    {
        switch (activation)
        {
            case Activation.Silu: return nn.functional.silu(x);
            case Activation.Relu: return x.relu();
            case Activation.ReluSquared:
                var positive = x.relu();
                return positive * positive;
            case Activation.Gelu: return nn.functional.gelu(x);
            case Activation.GeluTanh:
                // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (arXiv 1606.08415, section 2)
                var inner = x.add(x * x * x, Cubic).mul(Slope).tanh();
                return x.add(x * inner, Scalars.One).mul(Half);
            default: throw Require.OutOfRange(nameof(activation), activation, $"one of {string.Join(", ", Enum.GetNames<Activation>())}");
        }
    }

    /// <summary>Computes log(1 + e^x), as log(e^x + e^0). TorchSharp's softplus creates temporary scalars.</summary>
    public static Tensor Softplus(Tensor x) => x.logaddexp(zeros(1, x.dtype, x.device));

    /// <summary>Computes activation(gate) * up.</summary>
    public static Tensor Gated(Activation activation, Tensor gate, Tensor up) =>
        activation == Activation.Silu ? SwiGlu.Forward(gate, up) : Apply(activation, gate) * up;
}
