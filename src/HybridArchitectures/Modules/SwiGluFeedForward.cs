using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Computes outputScale * down(activation(gateScale * gate(x)) * up(x)) (arXiv 2002.05202).</summary>
public sealed class SwiGluFeedForward : FeedForward
{
    readonly SwiGluSpec spec;
    readonly Linear gate, up, down;

    /// <summary>Creates a feed-forward with an inner width.</summary>
    public SwiGluFeedForward(ModuleFactory factory, int innerWidth) : this(factory, new SwiGluSpec(innerWidth)) { }

    /// <summary>Creates a feed-forward.</summary>
    public SwiGluFeedForward(ModuleFactory factory, SwiGluSpec spec) : base(nameof(SwiGluFeedForward))
    {
        ModuleChecks.Spec(factory, spec);
        this.spec = spec;
        gate = Add("gate", Project(factory, spec.Width));
        up = Add("up", Project(factory, spec.Width));
        down = Add("down", new Linear(
            factory.Projection(factory.Width, spec.Width, intoResidual: true), spec.Bias ? factory.Bias(factory.Width) : null));
    }

    Linear Project(ModuleFactory factory, int outputs) => new(factory.Projection(outputs, factory.Width), spec.Bias ? factory.Bias(outputs) : null);

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state = null) => Forward(x, adapter: null);

    /// <inheritdoc/>
    internal override Tensor ForwardAgain(Tensor x, SequenceContext context) => Forward(x, adapter: null, omitsOutput: true);

    /// <inheritdoc/>
    internal override Tensor? StepSum(StepInput input, SequenceContext context) =>
        spec is { Activation: Activation.Silu, GateScale: 1, OutputScale: 1 } && Linear.ForwardGated(input, gate, up) is { } inner
            ? down.ForwardSum(inner, input.Stream) : null;

    /// <summary>Computes the feed-forward with an adapter whose output is added to gate and up, in this order.</summary>
    internal Tensor Forward(Tensor x, LowRankAdapter? adapter, bool omitsOutput = false)
    {
        if (adapter is null && spec is { Activation: Activation.Silu, GateScale: 1 } && Linear.ForwardGated(x, gate, up) is { } inner)
            return Scaled(down.Forward(inner), spec.OutputScale);
        var projected = Linear.ForwardMany(x, gate, up);
        var (gated, raised) = (projected[0], projected[1]);
        if (adapter?.Forward(x) is { } added)
        {
            var (toGate, toUp) = LastDimension.Split(added, spec.Width, spec.Width);
            (gated, raised) = (gated.add(toGate, Scalars.One), raised.add(toUp, Scalars.One));
        }
        gated = Scaled(gated, spec.GateScale);
        return Scaled(spec.Activation == Activation.Silu ? down.ForwardOf(new SwiGluProduct(gated, raised) { OwnsInputs = true }, omitsOutput)
            : down.Forward(Activations.Gated(spec.Activation, gated, raised)), spec.OutputScale);
    }
}
