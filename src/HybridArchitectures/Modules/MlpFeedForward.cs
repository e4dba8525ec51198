using HybridArchitectures.Design;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Computes the feed-forward down(activation(up(x))).</summary>
public sealed class MlpFeedForward : FeedForward
{
    readonly MlpSpec spec;
    readonly Linear up, down;

    /// <summary>Creates a feed-forward.</summary>
    public MlpFeedForward(ModuleFactory factory, MlpSpec spec) : base(nameof(MlpFeedForward))
    {
        ModuleChecks.Spec(factory, spec);
        this.spec = spec;
        up = Add("up", new Linear(factory.Projection(spec.Width, factory.Width), spec.Bias ? factory.Bias(spec.Width) : null));
        down = Add("down", new Linear(
            factory.Projection(factory.Width, spec.Width, intoResidual: true), spec.Bias ? factory.Bias(factory.Width) : null));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context) => down.Forward(Activations.Apply(spec.Activation, up.Forward(x)));
}
