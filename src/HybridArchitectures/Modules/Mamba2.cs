using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the Mamba-2 mixer (arXiv 2405.21060, section 7): one projection to gate, scan input, B, C and time steps; causal convolution with SiLU
/// over input, B and C; state-space dual; gated RMSNorm; output projection.
/// </summary>
public sealed class Mamba2 : StateSpaceMixer
{
    readonly Mamba2Spec spec;
    readonly int width;
    readonly Linear input;
    readonly Linear? output;
    readonly double normEpsilon;

    /// <summary>Creates a Mamba-2 mixer.</summary>
    /// <param name="factory">Creates the parameters.</param>
    /// <param name="spec">Heads, sizes and state size.</param>
    /// <param name="ownOutput">Whether the mixer has an output projection. With false, a joint projection follows. The default is true.</param>
    public Mamba2(ModuleFactory factory, Mamba2Spec spec, bool ownOutput = true) : base(nameof(Mamba2), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width) = (spec, factory.Width);
        normEpsilon = spec.GatedNormEpsilon ?? factory.NormEpsilon;
        int inner = spec.InnerWidth, channels = spec.ConvolutionChannels, projected = inner + channels + spec.Heads;
        int shared = spec.Groups * spec.StateSize;
        input = Add("input", new Linear(factory.Projection(projected, factory.Width), spec.ProjectionBias ? factory.Bias(projected) : null)
        {
            Layout = new([inner, inner, shared, shared, spec.Heads]),
        });
        if (spec.ProjectionScales is { } scales)
        {
            float[] factors =
            [
                .. Enumerable.Repeat((float)scales.Gate, inner), .. Enumerable.Repeat((float)scales.Values, inner),
                .. Enumerable.Repeat((float)scales.B, shared),
                .. Enumerable.Repeat((float)scales.C, shared), .. Enumerable.Repeat((float)scales.TimeStep, spec.Heads),
            ];
            register_buffer("projection_scales", tensor(factors, ScalarType.Float32, factory.Device).DetachFromDisposeScope(), persistent: false);
        }
        double bound = 1 / Math.Sqrt(spec.ConvolutionWidth);
        AddParameter("conv_weight", factory.Uniform(-bound, bound, channels, spec.ConvolutionWidth), decays: true);
        if (spec.ConvolutionBias) AddParameter("conv_bias", factory.Uniform(-bound, bound, channels), decays: false);
        AddParameter("dt_bias", StateSpaceInitialisation.TimeStepBias(factory, spec.TimeStepRange, spec.TimeStepFloor, spec.Heads), decays: false);
        AddParameter("A_log", factory.FromUniform(spec.DecayRange.Minimum, spec.DecayRange.Maximum, a => a.log_(), spec.Heads), decays: false);
        AddParameter("D", factory.Constant(1, spec.Heads), decays: false);
        if (spec.GatedNorm) AddParameter("norm_weight", factory.Constant(1, inner), decays: false);
        if (ownOutput)
            output = Add("output", new Linear(
            factory.Projection(factory.Width, inner, intoResidual: true), spec.HasOutputBias ? factory.Bias(factory.Width) : null));
    }

    internal override (Tensor Output, Tensor Values) Scan(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var (y, gate, values) = Scan(x, input.Forward(Scaled(x, spec.InputScale)), context, state);
        return (Gated(x, y, gate), values);
    }

    internal override (Tensor Output, Tensor Values)? ScanStep(StepInput input, SequenceContext context, MixerState state)
    {
        if (spec.InputScale != 1) return null;
        var (y, gate, values) = ScanInput(input, context, state);
        return (Gated(input.Stream, y, gate), values);
    }

    /// <inheritdoc/>
    internal override Tensor? StepSum(StepInput input, SequenceContext context, MixerState state)
    {
        if (output is null || spec is not { InputScale: 1, OutputScale: 1 }) return null;
        var x = input.Stream;
        var (y, gate, _) = ScanInput(input, context, state);
        if (spec is { GatedNorm: true, GatedNormGroups: 1, NormBeforeGate: false } && output.ForwardSum(y, x,
            new FewRowsFusion(FewRowsNorm.Gated, Parameter("norm_weight", x), normEpsilon, gate.Tensor)) is { } sum) return sum;
        return output.ForwardSum(Gated(x, y, gate), x);
    }

    (Tensor Output, TensorSlice Gate, Tensor Values) ScanInput(StepInput input, SequenceContext context, MixerState state)
    {
        var x = input.Stream;
        if (IsStep(x, Recurrent(state), context) && spec is { ProjectionScales: null, Activation: Activation.Silu })
        {
            var recurrent = Recurrent(state)!;
            var step = new FewRowsConvolutionStep(recurrent.Convolution, Parameter("conv_weight", x),
                spec.ConvolutionBias ? Parameter("conv_bias", x) : null, spec.InnerWidth, IsSilu: true);
            if (x.size(1) > 1 && step.IsServed) step = CausalConvolution.OverTokens(step, x.size(1));
            if (this.input.ForwardConvolved(input, step) is { } convolved)
            {
                if (step.Length > 1) recurrent.Remember(0, CausalConvolution.Replay(step));
                return Scan(x, convolved, context, state, isConvolved: true);
            }
        }
        return Scan(x, Linear.ForwardMany(input, this.input)[0], context, state);
    }

    private protected override Tensor ScanAndProject(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var (y, gate, _) = Scan(x, input.Forward(Scaled(x, spec.InputScale)), context, state);
        return Scaled(spec.GatedNorm ? Output.ForwardOf(Normed(x, y, gate)) : Output.ForwardOf(new SwiGluProduct(gate.Tensor, y)), spec.OutputScale);
    }

    Tensor Gated(Tensor x, Tensor y, TensorSlice gate) => spec.GatedNorm ? Normed(x, y, gate).Forward() : SwiGlu.Forward(gate.Tensor, y);

    GatedNormProduct Normed(Tensor x, Tensor y, TensorSlice gate) =>
        new(new(y, gate.Tensor, Parameter("norm_weight", x), normEpsilon, spec.GatedNormGroups, spec.NormBeforeGate)
        {
            GateGradient = gate.Gradient,
        });

    Linear Output => output ?? throw new InvalidOperationException("this Mamba-2 mixer has no output projection");

    // projected: (B, L, inner + channels + heads)
    (Tensor Output, TensorSlice Gate, Tensor Values) Scan(Tensor x, Tensor projected, SequenceContext context, MixerState? state,
        bool isConvolved = false)
    {
        long batch = x.size(0), length = x.size(1);
        int inner = spec.InnerWidth, shared = spec.Groups * spec.StateSize;
        var recurrent = Recurrent(state);
        if (spec.ProjectionScales is not null) projected = projected * get_buffer("projection_scales")!.to(projected.dtype);
        if (length == 1 && IsStep(x, recurrent, context)) return Step(x, projected, context, recurrent!, isConvolved);
        bool hasPlaces = StateSpaceDual.BackendFor(projected) == KernelBackend.Cuda;
        var (gate, given, timeStep) = LastDimension.Slices(projected, hasPlaces, inner, spec.ConvolutionChannels, spec.Heads);
        var (weight, shift) = (Parameter("conv_weight", x), spec.ConvolutionBias ? Parameter("conv_bias", x) : null);
        var convolved = isConvolved ? given.Tensor : Convolve(given, weight, shift, spec.Activation, recurrent, context);
        var a = Decay(x);
        var (values, b, c) = LastDimension.Slices(convolved, hasPlaces, inner, shared, shared);
        context.Probe?.OnDecay(context, TimeSteps(timeStep.Tensor, TimeStepLimit, context), a);
        var inputs = new StateSpaceDualInputs(values.Tensor.view(batch, length, spec.Heads, spec.HeadSize), timeStep.Tensor, a,
            b.Tensor.view(batch, length, spec.Groups, spec.StateSize), c.Tensor.view(batch, length, spec.Groups, spec.StateSize))
        {
            D = Parameter("D", x), DtBias = Parameter("dt_bias", x), Softplus = true, DtLimit = TimeStepLimit,
        };
        Tensor y;
        if (!IsStep(x, recurrent, context))
        {
            using var offer = recurrent is null ? OfferConvolved(convolved, given.Tensor, (weight, shift), context) : null;
            (y, var final) = StateSpaceDual.Compute(inputs with
            {
                InitialState = recurrent?.WideScan, Layout = context.Layout, ChunkSize = spec.ChunkSize,
                Places = new(values.Gradient, timeStep.Gradient, b.Gradient, c.Gradient),
            });
            recurrent?.Scan.copy_(final);
        }
        else
        {
            (y, var replay) = StateSpaceDual.Steps(recurrent!.Scan, inputs);
            recurrent.Remember(1, replay);
        }
        return (y.reshape(batch, length, inner), gate, values.Tensor);
    }

    // one token of each row, with few views: each costs as much as the work on a small model
    (Tensor Output, TensorSlice Gate, Tensor Values) Step(Tensor x, Tensor projected, SequenceContext context, RecurrentState state, bool isConvolved)
    {
        long batch = x.size(0);
        int inner = spec.InnerWidth, shared = spec.Groups * spec.StateSize, first = isConvolved ? inner : 0;
        var convolved = isConvolved ? projected : Convolve(projected.narrow(2, inner, spec.ConvolutionChannels), Parameter("conv_weight", x),
            spec.ConvolutionBias ? Parameter("conv_bias", x) : null, spec.Activation, state, context);
        var timeStep = projected.narrow(2, inner + spec.ConvolutionChannels, spec.Heads);
        context.Probe?.OnDecay(context, TimeSteps(timeStep, TimeStepLimit, context), Decay(x));
        Tensor Shared(long from) => LastDimension.Heads(convolved, first + from, spec.Groups, spec.StateSize);
        var y = StateSpaceDual.Step(state.Scan, LastDimension.Heads(convolved, first, spec.Heads, spec.HeadSize),
            timeStep.select(1, 0), Decay(x), Shared(inner), Shared(inner + shared), Parameter("D", x), Parameter("dt_bias", x), softplus: true,
            TimeStepLimit);
        return (y.view(batch, 1, inner), projected.narrow(2, 0, inner), convolved.narrow(2, first, inner));
    }

    Tensor Decay(Tensor x) => Derived("A_log", x, static logarithm => logarithm.exp().neg());

    (double, double)? TimeStepLimit => spec.TimeStepLimit is { } range ? (range.Minimum, range.Maximum) : null;

    // the dual does not save its input
    IDisposable? OfferConvolved(Tensor convolved, Tensor given, (Tensor Weight, Tensor? Bias) filter, SequenceContext context) =>
        spec.Activation == Activation.Silu
            ? CausalConvolution.Offer(convolved, given, filter.Weight, filter.Bias, silu: true, context.Layout) : null;

    internal override Tensor Project(Tensor scanned) => Scaled(Output.Forward(scanned), spec.OutputScale);

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new RecurrentState(
            zeros([batch, spec.ConvolutionWidth - 1, spec.ConvolutionChannels], compute, device),
            zeros([batch, spec.Heads, spec.HeadSize, spec.StateSize], SequenceChecks.StateType(compute), device));
    }
}
