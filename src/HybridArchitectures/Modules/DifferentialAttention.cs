using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes differential attention (arXiv 2410.05258, section 2.1): (softmax(q1 k1^T) - m softmax(q2 k2^T)) v per head, with the multiplier
/// <c>m = exp(q_vector_1 · k_vector_1) - exp(q_vector_2 · k_vector_2) + initial</c>. Both queries of a head are neighbours in the rows of the
/// projection <c>query</c>, as both keys are in <c>key</c>.
/// </summary>
public sealed class DifferentialAttention : Mixer
{
    readonly DifferentialAttentionSpec spec;
    readonly int width;
    readonly double epsilon;
    readonly Linear query, key, value, output;

    /// <summary>Creates differential attention.</summary>
    public DifferentialAttention(ModuleFactory factory, DifferentialAttentionSpec spec) : base(nameof(DifferentialAttention), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width, epsilon) = (spec, factory.Width, factory.NormEpsilon);
        query = Add("query", new Linear(factory.Projection(spec.QueryWidth, width)) { Layout = new([spec.QueryWidth], spec.HeadSize) });
        key = Add("key", new Linear(factory.Projection(spec.KeyWidth, width)) { Layout = new([spec.KeyWidth], spec.HeadSize) });
        value = Add("value", new Linear(factory.Projection(spec.KeyWidth, width)));
        foreach (string name in VectorNames) AddParameter(name, factory.Normal(0.1, spec.HeadSize), decays: false);
        AddParameter("norm_weight", factory.Constant(1, 2 * spec.HeadSize), decays: false);
        output = Add("output", new Linear(factory.Projection(width, spec.QueryWidth, intoResidual: true)));
    }

    static readonly string[] VectorNames = ["q_vector_1", "k_vector_1", "q_vector_2", "k_vector_2"];

    /// <inheritdoc/>
    internal override bool ReadsHostLengths => true;

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var projected = Linear.ForwardMany(x, query, key, value);
        long batch = x.size(0), length = x.size(1);
        var queries = Turned(projected[0].view(batch, length, 2L * spec.Heads, spec.HeadSize), context);
        var keys = Turned(projected[1].view(batch, length, 2L * spec.KeyValueHeads, spec.HeadSize), context)
            .reshape(batch, length, spec.KeyValueHeads, 2L * spec.HeadSize);
        var values = projected[2].view(batch, length, spec.KeyValueHeads, 2L * spec.HeadSize);
        AttentionPositions? positions;
        switch (state)
        {
            case null: positions = context.FullAttentionPositions(); break;
            case KeyValueState all: (keys, values, positions) = all.Append(keys, values, context); break;
            default: throw ModuleChecks.ForeignState(state, "differential attention");
        }
        Tensor Attend(int part) => FusedAttention.Forward(queries.unflatten(2, spec.Heads, 2).select(3, part).contiguous(),
            keys.narrow(3, part * spec.HeadSize, spec.HeadSize).contiguous(), values, null, null, 0, positions);
        var mixed = Attend(0) - Attend(1) * Multiplier(x).to(x.dtype);
        var normed = RmsNorm.Forward(mixed.contiguous(), Parameter("norm_weight", x), epsilon).mul(Scalars.From(1 - spec.InitialMultiplier));
        return output.Forward(normed.reshape(batch, length, spec.QueryWidth));
    }

    Tensor Turned(Tensor heads, SequenceContext context)
    {
        if (spec.Rotary is not { } rotary) return heads;
        var (cosine, sine) = context.RotaryTable(rotary, spec.HeadSize);
        return Rotary.Forward(heads, cosine, sine);
    }

    Tensor Multiplier(Tensor x)
    {
        Tensor Exponential(int pair) => (Parameter(VectorNames[2 * pair], x) * Parameter(VectorNames[2 * pair + 1], x)).sum().exp();
        var learned = Exponential(0) - Exponential(1);
        return learned.add(ones_like(learned), Scalars.From(spec.InitialMultiplier));
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new KeyValueState(batch, spec.KeyValueHeads, 2 * spec.HeadSize, 2 * spec.HeadSize, compute, device);
    }
}
