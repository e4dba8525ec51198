using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the gated delta rule (arXiv 2412.06464). The rows of the projection <c>input</c> are ordered by key head: its query, its key, the values
/// of its value heads, their gates if there are any. Those of <c>rates</c> are also ordered by key head: strengths, then time steps if states decay.
/// </summary>
public sealed class GatedDelta : Mixer
{
    const string InputOrder = "input_order", RatesOrder = "rates_order", Inverse = "_inverse";

    readonly GatedDeltaSpec spec;
    readonly int width;
    readonly Linear input, rates, output;
    readonly double normEpsilon;

    /// <summary>Creates a gated delta layer.</summary>
    public GatedDelta(ModuleFactory factory, GatedDeltaSpec spec) : base(nameof(GatedDelta), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width) = (spec, factory.Width);
        normEpsilon = spec.GatedNormEpsilon ?? factory.NormEpsilon;
        input = Add("input", new Linear(factory.Projection(spec.InputWidth, factory.Width)) { Layout = Layout(InputParts) });
        rates = Add("rates", new Linear(factory.Projection(spec.RatesWidth, factory.Width)) { Layout = Layout(RatesParts) });
        double bound = 1 / Math.Sqrt(spec.ConvolutionWidth);
        AddParameter("conv_weight", factory.Uniform(-bound, bound, spec.ConvolutionChannels, spec.ConvolutionWidth), decays: true);
        if (spec.ConvolutionBias) AddParameter("conv_bias", factory.Uniform(-bound, bound, spec.ConvolutionChannels), decays: false);
        if (spec.Decays)
        {
            AddParameter("dt_bias", StateSpaceInitialisation.TimeStepBias(factory, spec.TimeStepRange, spec.TimeStepFloor, spec.ValueHeads),
                decays: false);
            AddParameter("A_log", factory.FromUniform(spec.DecayRange.Minimum, spec.DecayRange.Maximum, a => a.log_(), spec.ValueHeads),
                decays: false);
        }
        AddParameter("norm_weight", factory.Constant(1, spec.ValueHeadSize), decays: false);
        output = Add("output", new Linear(factory.Projection(factory.Width, spec.ValueWidth, intoResidual: true)));
        AddOrder(InputOrder, InputParts, factory.Device);
        AddOrder(RatesOrder, RatesParts, factory.Device);
    }

    // the outputs of a projection for one key head
    long[] InputParts
    {
        get
        {
            long values = spec.ValueHeads / spec.KeyHeads * spec.ValueHeadSize;
            return spec.OutputGate ? [spec.KeyHeadSize, spec.KeyHeadSize, values, values] : [spec.KeyHeadSize, spec.KeyHeadSize, values];
        }
    }

    long[] RatesParts
    {
        get
        {
            long group = spec.ValueHeads / spec.KeyHeads;
            return spec.Decays ? [group, group] : [group];
        }
    }

    MatrixLayout Layout(long[] parts) => new([.. parts.Select(part => (int)part)]) { Repeats = spec.KeyHeads };

    // the order of the rows of a projection in which each part of all key heads is together
    void AddOrder(string name, long[] parts, Device device)
    {
        using var scope = NewDisposeScope();
        var rows = Indices.Range(0, spec.KeyHeads * parts.Sum(), device).view(spec.KeyHeads, parts.Sum());
        var order = cat([.. rows.split(parts, 1).Select(part => part.flatten())]);
        register_buffer(name, order.DetachFromDisposeScope(), persistent: false);
        register_buffer(name + Inverse, order.argsort().DetachFromDisposeScope(), persistent: false);
    }

    RowOrder Order(string name) => new(get_buffer(name)!, get_buffer(name + Inverse)!);

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var recurrent = ModuleChecks.State<RecurrentState>(state, "a gated delta net");
        long batch = x.size(0), length = x.size(1);
        var (mixed, gate) = Project(x);
        var convolved = StatefulConvolution.Forward(mixed, Parameter("conv_weight", x), spec.ConvolutionBias ? Parameter("conv_bias", x) : null,
            spec.Activation == Activation.Silu, recurrent, context);
        if (spec.Activation != Activation.Silu) convolved = Activations.Apply(spec.Activation, convolved);

        bool hasPlaces = RmsNorm.BackendFor(convolved) == KernelBackend.Cuda;
        var (queries, keys, values) = LastDimension.Slices(convolved, hasPlaces, spec.KeyWidth, spec.KeyWidth, spec.ValueWidth);
        if (context.IsDecoding(recurrent, length) && context.Probe is null
            && FromProjections(x, queries.Tensor, keys.Tensor, values.Tensor) is { } inputs) return Output(Decode(recurrent, inputs), gate, x);
        var query = UnitHeads.Forward(queries, spec.KeyHeads, spec.KeyHeadSize, 1 / Math.Sqrt(spec.KeyHeadSize));
        var key = UnitHeads.Forward(keys, spec.KeyHeads, spec.KeyHeadSize, 1);
        var value = values with { Tensor = values.Tensor.view(batch, length, spec.ValueHeads, spec.ValueHeadSize) };
        var (strength, decay) = Rates(x, recurrent, context);
        return Output(Mix(query, key, value, decay, strength, recurrent, context), gate, x);
    }

    Tensor Output(Tensor mixing, TensorSlice? gate, Tensor x)
    {
        var weight = Parameter("norm_weight", x);
        if (gate is { } slice) return output.ForwardOf(Gated(mixing, slice, weight));
        return output.Forward(RmsNorm.Forward(mixing, weight, normEpsilon).reshape(x.size(0), x.size(1), spec.ValueWidth));
    }

    // inputs of which the kernel of a step scales queries and keys, and computes strengths and decays; null if there is no such kernel
    DeltaRuleInputs? FromProjections(Tensor x, Tensor queries, Tensor keys, Tensor values)
    {
        Tensor Heads(Tensor of, long heads) => of.view(x.size(0), x.size(1), heads, -1);
        var (key, value) = (Heads(keys, spec.KeyHeads), Heads(values, spec.ValueHeads));
        if (!GatedDeltaRule.StepsFromProjections(key, value)) return null;
        var both = Heads(rates.Forward(x), spec.KeyHeads);
        var bias = spec.Decays ? Parameter("dt_bias", x) : null;
        var a = spec.Decays ? Derived("A_log", x, logarithm => logarithm.exp().neg()) : null;
        return new(Heads(queries, spec.KeyHeads), key, value, both, both)
        {
            Projected = new(bias, a, 1 / Math.Sqrt(spec.KeyHeadSize), spec.NegativeEigenvalues ? 2 : 1, UnitHeads.LengthEpsilon),
        };
    }

    static Tensor Decode(RecurrentState recurrent, DeltaRuleInputs inputs) => recurrent.Decode(inputs.Length, 1,
        () => GatedDeltaRule.ComputeStep(recurrent.Scan, inputs.Map(tensor => tensor?.select(1, 0))),
        () => GatedDeltaRule.Steps(recurrent.Scan, inputs));

    GatedNormProduct Gated(Tensor mixing, TensorSlice slice, Tensor weight)
    {
        var gate = slice.Tensor;
        if (gate.is_contiguous()) return new(new(mixing, gate.view(mixing.shape), weight, normEpsilon, 1, NormFirst: true), JoinsHeads: true);
        // a slice of the projection is read in place as rows of all heads; gradients of heads are summed in float32
        var weights = (weight.dtype == ScalarType.BFloat16 ? weight.to(ScalarType.Float32) : weight).repeat(spec.ValueHeads);
        return new(new(mixing.flatten(2), gate, weights, normEpsilon, spec.ValueHeads, NormFirst: true) { GateGradient = slice.Gradient });
    }

    // the input of the convolution, (B, L, channels), and the gates, (B, L, value width), if there are any
    (TensorSlice Mixed, TensorSlice? Gate) Project(Tensor x)
    {
        if (input.ForwardReordered(x, Order(InputOrder)) is { } projected)
        {
            if (!spec.OutputGate) return (projected, null);
            bool hasPlaces = CausalConvolution.BackendFor(projected) == KernelBackend.Cuda;
            var slices = TensorSlice.Split(projected, hasPlaces, spec.ConvolutionChannels, spec.ValueWidth);
            return (slices[0], slices[1]);
        }
        var parts = input.Forward(x).view(x.size(0), x.size(1), spec.KeyHeads, -1).split(InputParts, -1);
        var mixed = cat([parts[0].flatten(2), parts[1].flatten(2), parts[2].flatten(2)], -1);
        return (mixed, spec.OutputGate ? parts[3].flatten(2) : (TensorSlice?)null);
    }

    // update strengths and logarithms of decays, (B, L, value heads) each
    (Tensor Strength, Tensor Decay) Rates(Tensor x, RecurrentState? recurrent, SequenceContext context)
    {
        var type = recurrent?.Scan.dtype ?? SequenceChecks.StateType(x);
        double maxStrength = spec.NegativeEigenvalues ? 2 : 1;
        if (!spec.Decays)
        {
            var alone = Scaled(rates.Forward(x).to(type).sigmoid(), maxStrength);
            return (alone, zeros_like(alone));
        }
        Tensor strength, step;
        if (rates.ForwardReordered(x, Order(RatesOrder)) is { } rate)
            (strength, step) = LastDimension.Split(rate.to(type), spec.ValueHeads, spec.ValueHeads);
        else
        {
            var parts = rates.Forward(x).view(x.size(0), x.size(1), spec.KeyHeads, -1).to(type).split(RatesParts, -1);
            (strength, step) = (parts[0].flatten(2), parts[1].flatten(2));
        }
        step = step.add(Parameter("dt_bias", x), Scalars.One);
        var decay = Activations.Softplus(step) * Derived("A_log", x, logarithm => logarithm.exp().neg());
        context.Probe?.OnDecay(context, decay.neg(), full([spec.ValueHeads], Scalars.MinusOne, decay.dtype, decay.device));
        return (Scaled(strength.sigmoid(), maxStrength), decay);
    }

    // single tokens update the state in place; longer passes run the chunked rule and store its final state
    Tensor Mix(Tensor query, Tensor key, TensorSlice values, Tensor decay, Tensor strength, RecurrentState? recurrent, SequenceContext context)
    {
        var value = values.Tensor;
        long length = query.size(1);
        if (context.IsDecoding(recurrent, length)) return Decode(recurrent, new(query, key, value, decay, strength));
        var (mixing, final) = GatedDeltaRule.Compute(new(query, key, value, decay, strength)
        {
            InitialState = recurrent?.Scan, Layout = context.Layout, ChunkSize = spec.ChunkSize, ValueGradient = values.Gradient,
        });
        recurrent?.Scan.copy_(final);
        return mixing;
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new RecurrentState(
            zeros([batch, spec.ConvolutionWidth - 1, spec.ConvolutionChannels], compute, device),
            zeros([batch, spec.ValueHeads, spec.KeyHeadSize, spec.ValueHeadSize], SequenceChecks.StateType(compute), device));
    }
}
