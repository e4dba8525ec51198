using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Finds the token before each token. It is a convolution with the taps 1 and 0, which knows documents, padding and the state: the first token of a
/// document has zeros before it.
/// </summary>
static class TokenShift
{
    /// <summary>Returns the taps, (width, 2), for a convolution over as many channels as a vector or the rows of a matrix have.</summary>
    public static Tensor Taps(Tensor scales)
    {
        var channels = scales.detach();
        if (channels.dim() == 2) channels = channels.select(0, 0);
        return stack([ones_like(channels), zeros_like(channels)], -1);
    }

    /// <summary>Returns the previous tokens, (batch, length, width), and leaves the last token in the first tensor of the state.</summary>
    public static Tensor Previous(Tensor x, Tensor taps, MixerState? state, SequenceContext context) =>
        StatefulConvolution.Forward(x, taps, null, false, state, context);
}
