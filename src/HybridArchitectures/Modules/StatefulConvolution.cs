using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Computes a causal convolution that continues from the first tensor of the state of a mixer and updates it.</summary>
static class StatefulConvolution
{
    /// <summary>Computes (batch, length, channels) from the same shape.</summary>
    public static Tensor Forward(TensorSlice input, Tensor weight, Tensor? bias, bool silu, MixerState? state, SequenceContext context)
    {
        var x = input.Tensor;
        if (state is null)
        {
            return CausalConvolution.Compute(new CausalConvolutionInputs(x, weight, bias)
            {
                Silu = silu, Layout = context.Layout, XGradient = input.Gradient,
            }).Output;
        }
        var convolution = state.Tensors[0];
        if (context.IsStepwise && x.size(1) > 1)
        {
            var (outputs, replay) = CausalConvolution.Steps(convolution, new(x, weight, bias) { Silu = silu });
            state.Remember(0, replay);
            return outputs;
        }
        var (output, last) = CausalConvolution.Forward(x, weight, bias, silu, convolution, context.Layout);
        convolution.copy_(last);
        return output;
    }
}
