using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes lightning attention (arXiv 2401.04658). The rows of the projection <c>input</c> are ordered by head: its query, its key, its value. The
/// recurrence is that of Mamba-2 with a time step of 1: the values are x, the keys B, the queries C.
/// </summary>
public sealed class LightningAttention : Mixer
{
    readonly LightningAttentionSpec spec;
    readonly int width;
    readonly Linear input, gate, output;
    readonly RootMeanSquareNorm norm;

    /// <summary>Creates lightning attention.</summary>
    public LightningAttention(ModuleFactory factory, LightningAttentionSpec spec) : base(nameof(LightningAttention), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width) = (spec, factory.Width);
        input = Add("input", new Linear(factory.Projection(3L * spec.InnerWidth, width))
        {
            Layout = new([spec.HeadSize, spec.HeadSize, spec.HeadSize]) { Repeats = spec.Heads },
        });
        gate = Add("gate", new Linear(factory.Projection(spec.InnerWidth, width)));
        norm = Add("norm", new RootMeanSquareNorm(factory, spec.InnerWidth, spec.OutputNormEpsilon));
        output = Add("output", new Linear(factory.Projection(width, spec.InnerWidth, intoResidual: true)));
        float[] decays = [.. spec.DecayRates().Select(rate => (float)-rate)];
        register_buffer("decay", tensor(decays, ScalarType.Float32, factory.Device).DetachFromDisposeScope(), persistent: false);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var linear = ModuleChecks.State<LinearAttentionState>(state, "lightning attention");
        long batch = x.size(0), length = x.size(1);
        var projected = Linear.ForwardMany(x, input, gate);
        var heads = Activations.Apply(spec.Activation, projected[0]).view(batch, length, spec.Heads, 3 * spec.HeadSize);
        var (queries, keys, values) = LastDimension.Split(heads, spec.HeadSize, spec.HeadSize, spec.HeadSize);
        var mixed = Mix(queries.contiguous(), keys.contiguous(), values.contiguous(), linear, context).reshape(batch, length, spec.InnerWidth);
        return output.Forward(norm.Forward(mixed) * projected[1].sigmoid());
    }

    Tensor Mix(Tensor queries, Tensor keys, Tensor values, LinearAttentionState? state, SequenceContext context)
    {
        long length = values.size(1);
        var decay = get_buffer("decay")!;
        if (values.dtype == ScalarType.Float64) decay = decay.to(ScalarType.Float64);
        var steps = ones([values.size(0), length, spec.Heads], values.dtype, values.device);
        if (state is not null && (length == 1 || context.IsStepwise) && context.Layout is null)
        {
            if (length == 1)
                return StateSpaceDual.Step(state.Memory, values.select(1, 0), steps.select(1, 0), decay, keys.select(1, 0), queries.select(1, 0))
                    .unsqueeze(1);
            var (outputs, replay) = StateSpaceDual.Steps(state.Memory, new(values, steps, decay, keys, queries));
            state.Remember(0, replay);
            return outputs;
        }
        var (mixed, final) = StateSpaceDual.Forward(values, steps, decay, keys, queries, initialState: state?.WideMemory, layout: context.Layout,
            chunkSize: spec.ChunkSize);
        state?.Memory.copy_(final);
        return mixed;
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        LinearAttentionState.Create(batch, spec.Heads, spec.HeadSize, spec.HeadSize, compute, device);
}
