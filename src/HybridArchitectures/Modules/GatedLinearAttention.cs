using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Computes gated linear attention (arXiv 2312.06635).</summary>
public sealed class GatedLinearAttention : Mixer
{
    readonly GatedLinearAttentionSpec spec;
    readonly int width;
    readonly double normEpsilon;
    readonly Linear query, key, value, gate, decayDown, decayUp, output;

    /// <summary>Creates gated linear attention.</summary>
    public GatedLinearAttention(ModuleFactory factory, GatedLinearAttentionSpec spec) : base(nameof(GatedLinearAttention), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width, normEpsilon) = (spec, factory.Width, factory.NormEpsilon);
        Linear Project(string name, int outputs, int inputs) => Add(name, new Linear(factory.Projection(outputs, inputs)));
        query = Project("query", spec.KeyWidth, width);
        key = Project("key", spec.KeyWidth, width);
        value = Project("value", spec.ValueWidth, width);
        gate = Project("gate", spec.ValueWidth, width);
        decayDown = Project("decay_down", spec.DecayRank, width);
        decayUp = Add("decay_up", new Linear(factory.Projection(spec.KeyWidth, spec.DecayRank), factory.Bias(spec.KeyWidth)));
        AddParameter("norm_weight", factory.Constant(1, spec.ValueHeadSize), decays: false);
        output = Add("output", new Linear(factory.Projection(width, spec.ValueWidth, intoResidual: true)));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var linear = ModuleChecks.State<LinearAttentionState>(state, "gated linear attention");
        var projected = Linear.ForwardMany(x, query, key, value, gate, decayDown);
        Tensor Heads(Tensor tensor) => tensor.view(x.size(0), x.size(1), spec.Heads, -1);
        var queries = Heads(projected[0]).mul(Scalars.From(1 / Math.Sqrt(spec.KeyHeadSize)));
        var mixed = LinearAttentionState.Mix(linear, queries, Heads(projected[1]), Heads(projected[2]), Heads(Decays(projected[4], linear)), context,
            spec.ChunkSize);
        return output.ForwardOf(new GatedNormProduct(
            new(mixed, Heads(projected[3]), Parameter("norm_weight", x), normEpsilon, 1, NormFirst: true), JoinsHeads: true));
    }

    // log(sigmoid(z)) / normalizer = -softplus(-z) / normalizer
    Tensor Decays(Tensor ranks, LinearAttentionState? state)
    {
        var z = decayUp.Forward(ranks).to(state?.Memory.dtype ?? SequenceChecks.StateType(ranks)).neg();
        return Activations.Softplus(z).mul(Scalars.From(-1 / spec.DecayNormalizer));
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        LinearAttentionState.Create(batch, spec.Heads, spec.KeyHeadSize, spec.ValueHeadSize, compute, device);
}
