using HybridArchitectures.Design;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Represents the part of a block in which positions exchange information. One forward method computes training, prefill in chunks of any length, and
/// single steps. The cache of the context, if there is one, contains the earlier tokens.
/// </summary>
/// <param name="kind">The name of the module in exceptions.</param>
public abstract class Mixer(string kind) : HybridModule(kind)
{
    private protected Mixer(string kind, MixerSpec? spec) : this(kind) =>
        (Kind, StoresNarrowStates) = (spec?.Kind ?? MixerKind.Other, spec?.StoresNarrowStates ?? false);

    /// <summary>Gets how the mixer remembers earlier tokens.</summary>
    internal MixerKind Kind { get; }

    /// <summary>Gets whether a cache can store the recurrent state of the mixer in bfloat16.</summary>
    internal bool StoresNarrowStates { get; }

    /// <summary>Mixes the positions of each row.</summary>
    /// <param name="x">The normed input, (batch, length, width). Padding is on the right, as in <see cref="SequenceContext.Layout"/>.</param>
    /// <param name="context">Positions, documents, padding, and the cache.</param>
    /// <param name="state">
    /// The state of this mixer, created by <see cref="CreateState"/>, from which the rows continue and which is updated; null without a cache.
    /// </param>
    /// <returns>The value to add to the residual stream, (batch, length, width).</returns>
    public abstract Tensor Forward(Tensor x, SequenceContext context, MixerState? state);

    /// <summary>
    /// Computes stream + mixer(norm(stream)) of a decoding step on a GPU, in fewer launches than separately; null, without an effect, if the mixer
    /// cannot.
    /// </summary>
    internal virtual Tensor? StepSum(StepInput input, SequenceContext context, MixerState state) => null;

    /// <summary>
    /// Gets whether a decoding step depends on the lengths that the host knows, which a captured graph would repeat. The default is false.
    /// </summary>
    internal virtual bool ReadsHostLengths => false;

    /// <summary>Creates an empty state.</summary>
    /// <param name="batch">The number of rows.</param>
    /// <param name="compute">The type of activations.</param>
    /// <param name="device">The device.</param>
    /// <returns>
    /// The state. Its tensors can be created by functions such as <c>zeros</c>: the library detaches them from the current dispose scope.
    /// </returns>
    public abstract MixerState CreateState(int batch, ScalarType compute, Device device);
}
