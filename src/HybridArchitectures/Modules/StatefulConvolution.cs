using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Computes a causal convolution that continues from the first tensor of the state of a mixer and updates it.</summary>
static class StatefulConvolution
{
    /// <summary>Computes (batch, length, channels) from the same shape. A stepwise pass advances by one token at a time.</summary>
    public static Tensor Forward(Tensor x, Tensor weight, Tensor? bias, bool silu, MixerState? state, SequenceContext context)
    {
        if (state is null) return CausalConvolution.Forward(x, weight, bias, silu, null, context.Layout).Output;
        var convolution = state.Tensors[0];
        Tensor Move(Tensor part)
        {
            var (output, last) = CausalConvolution.Forward(part, weight, bias, silu, convolution, context.Layout);
            convolution.copy_(last);
            return output;
        }
        return context.IsStepwise ? state.EachToken(x.size(1), 0, context, token => Move(x.narrow(1, token, 1)).squeeze(1)) : Move(x);
    }
}
