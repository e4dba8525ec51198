using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>down(silu(gate(x)) * up(x)) (arXiv 2002.05202).</summary>
public sealed class SwiGluFeedForward : FeedForward
{
    readonly Linear gate, up, down;

    /// <summary>A feed-forward of the given inner width.</summary>
    public SwiGluFeedForward(ModuleFactory factory, int innerWidth) : base(nameof(SwiGluFeedForward))
    {
        gate = Add("gate", new Linear(factory.Projection(innerWidth, factory.Width)));
        up = Add("up", new Linear(factory.Projection(innerWidth, factory.Width)));
        down = Add("down", new Linear(factory.Projection(factory.Width, innerWidth, intoResidual: true)));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context) => down.Forward(SwiGlu.Forward(gate.Forward(x), up.Forward(x)));
}
