using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the recurrent block of Griffin (arXiv 2402.19427, section 2.4). With r and i the sigmoid gates of the convolved input u,
/// <c>log a[t] = -8 softplus(decay) r[t]</c> and <c>h[t] = a[t] h[t-1] + sqrt(1 - a[t]^2) i[t] u[t]</c>. The first token of a document is written
/// with a multiplier of 1.
/// </summary>
public sealed class RgLru : Mixer
{
    // the constant c of the paper
    const double GateSharpness = 8;

    // the gradient of a square root is bounded where the decay is 1
    const double MinWritten = 1e-14;

    readonly RgLruSpec spec;
    readonly int width;
    readonly Linear input, gate, output;

    /// <summary>Creates a recurrent block.</summary>
    public RgLru(ModuleFactory factory, RgLruSpec spec) : base(nameof(RgLru), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width) = (spec, factory.Width);
        int inner = spec.InnerWidth, heads = spec.Heads, size = spec.HeadSize;
        input = Add("input", new Linear(factory.Projection(inner, width), factory.Bias(inner)));
        gate = Add("gate", new Linear(factory.Projection(inner, width), factory.Bias(inner)));
        double bound = 1 / Math.Sqrt(spec.ConvolutionWidth);
        AddParameter("conv_weight", factory.Uniform(-bound, bound, inner, spec.ConvolutionWidth), decays: true);
        AddParameter("conv_bias", factory.Uniform(-bound, bound, inner), decays: false);
        foreach (string name in new[] { "input_gate", "recurrence_gate" })
        {
            AddParameter($"{name}_weight", factory.Normal(1 / Math.Sqrt(size), heads, size, size), decays: true);
            AddParameter($"{name}_bias", factory.Constant(0, heads, size), decays: false);
        }
        // softplus(decay) = -log(a) / 8
        var (minimum, maximum) = (spec.DecayRange.Minimum, spec.DecayRange.Maximum);
        AddParameter("decay", factory.FromUniform(minimum * minimum, maximum * maximum,
            square => square.log().mul(Scalars.From(-0.5 / GateSharpness)).expm1().log(), inner), decays: false);
        output = Add("output", new Linear(factory.Projection(width, inner, intoResidual: true), factory.Bias(width)));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var recurrent = ModuleChecks.State<RecurrentState>(state, "an RG-LRU");
        var projected = Linear.ForwardMany(x, input, gate);
        var convolved = StatefulConvolution.Forward(
            projected[0], Parameter("conv_weight", x), Parameter("conv_bias", x), silu: false, recurrent, context);
        var type = recurrent?.Scan.dtype ?? SequenceChecks.StateType(x);
        var decay = Gate("recurrence_gate", convolved, type) * Derived("decay", x, Rates);
        // sqrt(1 - a^2), without cancellation
        var multiplier = decay.mul(Scalars.Two).expm1().neg().clamp_min(Scalars.From(MinWritten)).sqrt()
            .masked_fill(IsFirst(context).unsqueeze(-1), Scalars.One);
        var written = convolved.to(type) * Gate("input_gate", convolved, type) * multiplier;
        var mixed = Mix(written, decay, recurrent, context).to(x.dtype);
        return output.Forward(mixed * Activations.Apply(spec.Activation, projected[1]));
    }

    static Tensor Rates(Tensor decay) => Activations.Softplus(decay).mul(Scalars.From(-GateSharpness));

    // sigmoid(x W + b) per head: (B, L, channels) to the same shape, in the dtype of states
    Tensor Gate(string name, Tensor x, ScalarType type)
    {
        long batch = x.size(0), length = x.size(1);
        var (weight, bias) = (Parameter($"{name}_weight").to(x.dtype), Parameter($"{name}_bias").to(x.dtype));
        var heads = x.view(batch * length, spec.Heads, spec.HeadSize).transpose(0, 1);                       // (H, B L, n)
        var gates = bmm(heads, weight).add(bias.unsqueeze(1), Scalars.One).to(type).sigmoid();
        return gates.transpose(0, 1).reshape(batch, length, spec.InnerWidth);
    }

    // whether a token is the first of its document: (length) or (batch, length)
    static Tensor IsFirst(SequenceContext context)
    {
        if (context.StepLengths is not { } totals) return context.Positions.eq(Scalars.Zero);
        var before = Indices.Range(1 - context.Length, context.Length, context.Device).unsqueeze(0);
        return totals.to(ScalarType.Int64).unsqueeze(1).add(before, Scalars.One).eq(Scalars.One);
    }

    static Tensor Mix(Tensor written, Tensor decay, RecurrentState? state, SequenceContext context)
    {
        long length = written.size(1);
        if (context.IsDecoding(state, length))
            return state.Decode(length, 1, () => LinearRecurrence.Step(state.Scan, written.select(1, 0), decay.select(1, 0)),
                () => LinearRecurrence.Steps(state.Scan, new(written, decay)));
        var (mixed, final) = LinearRecurrence.Forward(written, decay, state?.Scan, context.Layout);
        state?.Scan.copy_(final);
        return mixed;
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new RecurrentState(zeros([batch, spec.ConvolutionWidth - 1, spec.InnerWidth], compute, device),
            zeros([batch, spec.InnerWidth], SequenceChecks.StateType(compute), device));
    }
}
