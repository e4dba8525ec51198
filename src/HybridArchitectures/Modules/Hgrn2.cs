using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes HGRN2 (arXiv 2404.07904). With the forget gates <c>f = b + (1 - b) sigmoid(forget(x))</c> and the lower bound b of each channel:
/// <c>S[t] = diag(f[t]) S[t-1] + (1 - f[t]) value[t]^T</c> and <c>y[t] = S[t]^T silu(query[t]) / sqrt(K)</c>, then a norm over all heads.
/// </summary>
public sealed class Hgrn2 : Mixer
{
    const string Bound = "lower_bound";

    readonly Hgrn2Spec spec;
    readonly int width;
    readonly double normEpsilon;
    readonly Linear query, forget, value, output;

    /// <summary>Creates an HGRN2 mixer.</summary>
    public Hgrn2(ModuleFactory factory, Hgrn2Spec spec) : base(nameof(Hgrn2), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width, normEpsilon) = (spec, factory.Width, spec.OutputNormEpsilon ?? factory.NormEpsilon);
        query = Add("query", new Linear(factory.Projection(spec.KeyWidth, width)));
        forget = Add("forget", new Linear(factory.Projection(spec.KeyWidth, width)));
        value = Add("value", new Linear(factory.Projection(spec.ValueWidth, width)));
        if (spec.LowerBound)
        {
            // the logit of position / (depth + 1)
            double position = Math.Max(1, factory.Position), rest = Math.Max(1, factory.Design.Depth + 1 - position);
            AddParameter(Bound, factory.Constant(Math.Log(position / rest), spec.KeyWidth), decays: false);
        }
        AddParameter("norm_weight", factory.Constant(1, spec.ValueWidth), decays: false);
        output = Add("output", new Linear(factory.Projection(width, spec.ValueWidth, intoResidual: true)));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var linear = ModuleChecks.State<LinearAttentionState>(state, "HGRN2");
        var projected = Linear.ForwardMany(x, query, forget, value);
        Tensor Heads(Tensor tensor) => tensor.view(x.size(0), x.size(1), spec.Heads, -1);
        var queries = Activations.Apply(Activation.Silu, projected[0]).mul(Scalars.From(1 / Math.Sqrt(spec.KeyHeadSize)));
        var (keys, decays) = Gates(projected[1], linear);
        var mixed = LinearAttentionState.Mix(linear, Heads(queries), Heads(keys.to(x.dtype)), Heads(projected[2]), Heads(decays), context,
            spec.ChunkSize);
        return output.Forward(RmsNorm.Forward(mixed.reshape(x.size(0), x.size(1), spec.ValueWidth), Parameter("norm_weight", x), normEpsilon));
    }

    // keys 1 - f and decays log f, in the type of the state
    (Tensor Keys, Tensor Decays) Gates(Tensor projected, LinearAttentionState? state)
    {
        var z = projected.to(state?.Memory.dtype ?? SequenceChecks.StateType(projected));
        var (keys, decays) = (z.neg().sigmoid(), LogSigmoid(z));
        if (!spec.LowerBound) return (keys, decays);
        var bound = Parameter(Bound, z);
        return (keys * bound.neg().sigmoid(), LogSigmoid(bound).logaddexp(LogSigmoid(bound.neg()).add(decays, Scalars.One)));
    }

    static Tensor LogSigmoid(Tensor z) => Activations.Softplus(z.neg()).neg();

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        LinearAttentionState.Create(batch, spec.Heads, spec.KeyHeadSize, spec.ValueHeadSize, compute, device);
}
