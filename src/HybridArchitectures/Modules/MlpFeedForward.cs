using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the feed-forward down(activation(up(x))). With <see cref="MlpSpec.TokenShift"/>, x is a mixture of each token and the one before it.
/// </summary>
public sealed class MlpFeedForward : FeedForward
{
    const string Mix = "mix";

    readonly MlpSpec spec;
    readonly int width;
    readonly Linear up, down;

    /// <summary>Creates a feed-forward.</summary>
    public MlpFeedForward(ModuleFactory factory, MlpSpec spec) : base(nameof(MlpFeedForward))
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width) = (spec, factory.Width);
        up = Add("up", new Linear(factory.Projection(spec.Width, factory.Width), spec.Bias ? factory.Bias(spec.Width) : null));
        down = Add("down", new Linear(
            factory.Projection(factory.Width, spec.Width, intoResidual: true), spec.Bias ? factory.Bias(factory.Width) : null));
        if (spec.TokenShift)
            AddParameter(Mix, factory.From(() => tensor(Rwkv7Initialisation.FeedForwardMix(width, factory.Position, factory.Design.Depth))),
                decays: false);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state = null)
    {
        if (spec.TokenShift)
        {
            ModuleChecks.Input(x, width, context);
            var before = ModuleChecks.State<ConvolutionState>(state, "a feed-forward with a token shift");
            var previous = TokenShift.Previous(x, Derived(Mix, x, TokenShift.Taps), before, context);
            x = x.add((previous - x) * Parameter(Mix, x).to(x.dtype), Scalars.One);
        }
        return down.Forward(Activations.Apply(spec.Activation, up.Forward(x)));
    }

    /// <inheritdoc/>
    public override MixerState? CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return spec.TokenShift ? new ConvolutionState(zeros([batch, 1, width], compute, device)) : null;
    }
}
