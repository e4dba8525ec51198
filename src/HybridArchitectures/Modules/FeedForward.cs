using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Represents the part of a block that processes each position separately.</summary>
/// <param name="kind">The name of the module in exceptions.</param>
public abstract class FeedForward(string kind) : HybridModule(kind)
{
    /// <summary>Computes the value to add to the residual stream from the normed input; both are (batch, length, width).</summary>
    public abstract Tensor Forward(Tensor x, SequenceContext context);

    /// <summary>
    /// Computes stream + feedForward(norm(stream)) of a decoding step on a GPU, in fewer launches than separately; null, without an effect, if the
    /// feed-forward cannot.
    /// </summary>
    internal virtual Tensor? StepSum(StepInput input, SequenceContext context) => null;

    /// <summary>Does the work between optimizer steps, such as balancing experts.</summary>
    public virtual void AfterStep() { }
}
