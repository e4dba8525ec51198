using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>The part of a block that works on each position alone.</summary>
/// <param name="kind">What error messages call it.</param>
public abstract class FeedForward(string kind) : HybridModule(kind)
{
    /// <summary>(batch, length, width), normed, to the same shape: what is added to the residual stream.</summary>
    public abstract Tensor Forward(Tensor x, SequenceContext context);

    /// <summary>Work between optimizer steps, such as balancing experts.</summary>
    public virtual void AfterStep() { }
}
