using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes Kimi delta attention (arXiv 2510.26692). The convolution's channels are the queries, the keys and the values of all heads, in this order.
/// </summary>
public sealed class KimiDelta : Mixer
{
    readonly KimiDeltaSpec spec;
    readonly int width;
    readonly double normEpsilon;
    readonly Linear query, key, value, strength, decayDown, decayUp, gateDown, gateUp, output;

    /// <summary>Creates a layer of Kimi delta attention.</summary>
    public KimiDelta(ModuleFactory factory, KimiDeltaSpec spec) : base(nameof(KimiDelta), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width, normEpsilon) = (spec, factory.Width, factory.NormEpsilon);
        Linear Project(string name, int outputs, int inputs) => Add(name, new Linear(factory.Projection(outputs, inputs)));
        query = Project("query", spec.KeyWidth, width);
        key = Project("key", spec.KeyWidth, width);
        value = Project("value", spec.ValueWidth, width);
        strength = Project("strength", spec.Heads, width);
        decayDown = Project("decay_down", spec.DecayRank, width);
        decayUp = Project("decay_up", spec.KeyWidth, spec.DecayRank);
        gateDown = Project("gate_down", spec.GateRank, width);
        gateUp = Project("gate_up", spec.ValueWidth, spec.GateRank);
        double bound = 1 / Math.Sqrt(spec.ConvolutionWidth);
        AddParameter("conv_weight", factory.Uniform(-bound, bound, spec.ConvolutionChannels, spec.ConvolutionWidth), decays: true);
        AddParameter("dt_bias", StateSpaceInitialisation.TimeStepBias(factory, spec.TimeStepRange, spec.TimeStepFloor, spec.KeyWidth), decays: false);
        AddParameter("A_log", factory.FromUniform(spec.DecayRange.Minimum, spec.DecayRange.Maximum, a => a.log_(), spec.Heads), decays: false);
        AddParameter("norm_weight", factory.Constant(1, spec.ValueHeadSize), decays: false);
        output = Add("output", new Linear(factory.Projection(width, spec.ValueWidth, intoResidual: true)));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var recurrent = ModuleChecks.State<RecurrentState>(state, "Kimi delta attention");
        long batch = x.size(0), length = x.size(1);
        var projected = Linear.ForwardMany(x, query, key, value, strength, decayDown, gateDown);
        var convolved = StatefulConvolution.Forward(cat(projected[..3], -1), Parameter("conv_weight", x), null, true, recurrent, context);
        bool hasPlaces = RmsNorm.BackendFor(convolved) == KernelBackend.Cuda;
        var (queries, keys, values) = LastDimension.Slices(convolved, hasPlaces, spec.KeyWidth, spec.KeyWidth, spec.ValueWidth);
        var unitQueries = UnitHeads.Forward(queries, spec.Heads, spec.HeadSize, 1 / Math.Sqrt(spec.HeadSize));
        var unitKeys = UnitHeads.Forward(keys, spec.Heads, spec.HeadSize, 1);
        values = values with { Tensor = values.Tensor.view(batch, length, spec.Heads, spec.ValueHeadSize) };
        var type = recurrent?.Scan.dtype ?? SequenceChecks.StateType(x);
        var strengths = Scaled(projected[3].to(type).sigmoid(), spec.NegativeEigenvalues ? 2 : 1);                  // (B, L, H)
        var mixing = Mix(unitQueries, unitKeys, values, Decays(decayUp.Forward(projected[4]).to(type), x), strengths, recurrent, context);
        var gate = gateUp.Forward(projected[5]).view(batch, length, spec.Heads, spec.ValueHeadSize);
        var normed = RmsNorm.Forward(mixing, Parameter("norm_weight", x), normEpsilon) * gate.sigmoid();
        return output.Forward(normed.reshape(batch, length, spec.ValueWidth));
    }

    // -exp(A_log) softplus(x + dt_bias), (B, L, H, K)
    Tensor Decays(Tensor steps, Tensor x)
    {
        steps = steps.add(Parameter("dt_bias", x), Scalars.One).view(steps.size(0), steps.size(1), spec.Heads, spec.HeadSize);
        return Activations.Softplus(steps) * Derived("A_log", x, logarithm => logarithm.exp().neg().unsqueeze(-1));
    }

    Tensor Mix(Tensor queries, Tensor keys, TensorSlice slice, Tensor decays, Tensor strengths, RecurrentState? state, SequenceContext context)
    {
        var values = slice.Tensor;
        long length = queries.size(1);
        if (context.IsDecoding(state, length))
            return state.Decode(length, 1, () => ChannelDeltaRule.Step(state.Scan, queries.select(1, 0), keys.select(1, 0), values.select(1, 0),
                decays.select(1, 0), strengths.select(1, 0)),
                () => ChannelDeltaRule.Steps(state.Scan, new(queries, keys, values, decays, strengths) { DecaysChannels = true }));
        var (mixing, final) = ChannelDeltaRule.Compute(new(queries, keys, values, decays, strengths)
        {
            InitialState = state?.Scan, Layout = context.Layout, ChunkSize = spec.ChunkSize, DecaysChannels = true, ValueGradient = slice.Gradient,
        });
        state?.Scan.copy_(final);
        return mixing;
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new RecurrentState(
            zeros([batch, spec.ConvolutionWidth - 1, spec.ConvolutionChannels], compute, device),
            zeros([batch, spec.Heads, spec.HeadSize, spec.ValueHeadSize], SequenceChecks.StateType(compute), device));
    }
}
