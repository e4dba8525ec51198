using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// The part of a block that lets positions exchange information. One forward serves training, prefill in any chunks and single steps: what went before is in the
/// context's cache, if there is one.
/// </summary>
/// <param name="kind">What error messages call it.</param>
public abstract class Mixer(string kind) : HybridModule(kind)
{
    /// <summary>Mixes the positions of each row.</summary>
    /// <param name="x">(batch, length, width), normed; rows right-padded as <see cref="SequenceContext.Layout"/> says.</param>
    /// <param name="context">Positions, documents, pads, and the cache.</param>
    /// <param name="state">This mixer's own state, made by <see cref="CreateState"/>, to continue from and to update; null without a cache.</param>
    /// <returns>(batch, length, width), what is added to the residual stream.</returns>
    public abstract Tensor Forward(Tensor x, SequenceContext context, MixerState? state);

    /// <summary>An empty state for <paramref name="batch"/> rows.</summary>
    /// <param name="batch">Rows.</param>
    /// <param name="compute">The type of activations.</param>
    /// <param name="device">Where it lives.</param>
    /// <returns>The state. Its tensors may be made by plain factories such as <c>zeros</c>: the library takes them out of the current dispose
    /// scope.</returns>
    public abstract MixerState CreateState(int batch, ScalarType compute, Device device);
}
