using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Represents the part of a block that processes each position separately, or with the position before it (<see cref="Design.MlpSpec.TokenShift"/>).
/// </summary>
/// <param name="kind">The name of the module in exceptions.</param>
public abstract class FeedForward(string kind) : HybridModule(kind)
{
    /// <summary>Computes the value to add to the residual stream from the normed input.</summary>
    /// <param name="x">The normed input, (batch, length, width).</param>
    /// <param name="context">Positions, documents, padding, and the cache.</param>
    /// <param name="state">
    /// The state from <see cref="CreateState"/>, from which the rows continue and which is updated. The default, null, means no cache.
    /// </param>
    /// <returns>The value to add to the residual stream, (batch, length, width).</returns>
    public abstract Tensor Forward(Tensor x, SequenceContext context, MixerState? state = null);

    /// <summary>
    /// Computes the feed-forward again for its gradients. The values of the result are not read, so they can be undefined. The default is
    /// <see cref="Forward"/>.
    /// </summary>
    internal virtual Tensor ForwardAgain(Tensor x, SequenceContext context) => Forward(x, context);

    /// <summary>Creates an empty state; null, the default, if nothing of earlier tokens is needed.</summary>
    /// <param name="batch">The number of rows.</param>
    /// <param name="compute">The type of activations.</param>
    /// <param name="device">The device.</param>
    public virtual MixerState? CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return null;
    }

    /// <summary>
    /// Computes stream + feedForward(norm(stream)) of a decoding step on a GPU, in fewer launches than separately; null, without an effect, if the
    /// feed-forward cannot.
    /// </summary>
    internal virtual Tensor? StepSum(StepInput input, SequenceContext context) => null;

    /// <summary>
    /// Returns whether the host reads results of the device in a pass without gradients, which is an error in a capture. The default is false.
    /// </summary>
    /// <param name="tokens">The number of tokens of the pass, of all rows together.</param>
    /// <param name="compute">The type of activations.</param>
    internal virtual bool ReadsHostSizes(long tokens, ScalarType compute) => false;

    /// <summary>Does the work between optimizer steps, such as balancing experts.</summary>
    public virtual void AfterStep() { }
}
