using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the Mamba mixer (arXiv 2312.00752, section 3.4): projection to scan input and gate; causal convolution with SiLU; time step, B and C from
/// the convolved input; selective scan with gate; output projection.
/// </summary>
public sealed class Mamba1 : StateSpaceMixer
{
    readonly Mamba1Spec spec;
    readonly int width;
    readonly Linear input, selection;
    readonly Linear? output;
    readonly double selectionEpsilon;

    /// <summary>Creates a Mamba mixer.</summary>
    /// <param name="factory">Creates the parameters.</param>
    /// <param name="spec">Widths and state size.</param>
    /// <param name="ownOutput">Whether the mixer has an output projection. With false, a joint projection follows. The default is true.</param>
    public Mamba1(ModuleFactory factory, Mamba1Spec spec, bool ownOutput = true) : base(nameof(Mamba1), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width) = (spec, factory.Width);
        selectionEpsilon = spec.SelectionNormEpsilon ?? factory.NormEpsilon;
        int inner = spec.InnerWidth;
        input = Add("input", new Linear(factory.Projection(2 * inner, factory.Width), spec.ProjectionBias ? factory.Bias(2 * inner) : null)
        {
            Layout = new([inner, inner]),
        });
        double bound = 1 / Math.Sqrt(spec.ConvolutionWidth);
        AddParameter("conv_weight", factory.Uniform(-bound, bound, inner, spec.ConvolutionWidth), decays: true);
        if (spec.ConvolutionBias) AddParameter("conv_bias", factory.Uniform(-bound, bound, inner), decays: false);
        selection = Add("selection", new Linear(factory.Projection(spec.TimeStepRank + 2 * spec.StateSize, inner))
        {
            Layout = new([spec.TimeStepRank, spec.StateSize, spec.StateSize]),
        });
        if (spec.SelectionNorm == SelectionNorm.Weighted)
        {
            AddParameter("dt_norm", factory.Constant(1, spec.TimeStepRank), decays: false);
            AddParameter("b_norm", factory.Constant(1, spec.StateSize), decays: false);
            AddParameter("c_norm", factory.Constant(1, spec.StateSize), decays: false);
        }
        double rankBound = 1 / Math.Sqrt(spec.TimeStepRank);
        AddParameter("dt_weight", factory.UniformWeight(-rankBound, rankBound, inner, spec.TimeStepRank), decays: true);
        AddParameter("dt_bias", StateSpaceInitialisation.TimeStepBias(factory, spec.TimeStepRange, spec.TimeStepFloor, inner), decays: false);
        // S4D-real: A = -(1, 2, ..., N) in every channel
        AddParameter("A_log", factory.From(() => Indices.Range(1, spec.StateSize, CPU).to(ScalarType.Float32).log().repeat(inner, 1)), decays: false);
        AddParameter("D", factory.Constant(1, inner), decays: false);
        if (ownOutput)
            output = Add("output", new Linear(
            factory.Projection(factory.Width, inner, intoResidual: true), spec.ProjectionBias ? factory.Bias(factory.Width) : null));
    }

    /// <inheritdoc/>
    protected internal override IReadOnlyList<string> ProjectionWeights => ["dt_weight"];

    /// <inheritdoc/>
    protected internal override MatrixLayout? Matrix(string weight) => null;        // a parameter of the state space

    internal override (Tensor Output, Tensor Values) Scan(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var recurrent = Recurrent(state);
        var projected = input.Forward(x);                                   // (B, L, 2 inner)
        var (values, gate) = LastDimension.Split(projected, spec.InnerWidth, spec.InnerWidth);
        values = Convolve(values, Parameter("conv_weight", x), spec.ConvolutionBias ? Parameter("conv_bias", x) : null, spec.Activation, recurrent,
            context);
        // the gate of the scan is SiLU
        var (inScan, after) = spec.Activation == Activation.Silu ? (gate, (Tensor?)null) : ((Tensor?)null, Activations.Apply(spec.Activation, gate));
        Tensor Gated(Tensor scanned) => after is null ? scanned : scanned * after;
        var selected = selection.Forward(values);                           // (B, L, rank + 2 N)
        var (ranks, b, c) = LastDimension.Split(selected, spec.TimeStepRank, spec.StateSize, spec.StateSize);
        ranks = Selected(ranks, "dt_norm");
        var timeStep = Adapted("dt_weight", ranks, nn.functional.linear(ranks, Parameter("dt_weight").to(x.dtype)));
        (b, c) = (Selected(b, "b_norm"), Selected(c, "c_norm"));
        var a = Derived("A_log", x, logarithm => logarithm.exp().neg());
        context.Probe?.OnDecay(context, TimeSteps(timeStep, null, context), a);
        if (IsStep(x, recurrent, context))
        {
            var inputs = new SelectiveScanInputs(values, timeStep, a, b, c)
            {
                D = Parameter("D", x), Z = inScan, DtBias = Parameter("dt_bias", x), Softplus = true,
            };
            return (Gated(Steps(recurrent!, inputs)), values);
        }
        var (y, final) = SelectiveScan.Forward(
            values, timeStep, a, b, c, Parameter("D", x), inScan, Parameter("dt_bias", x), softplus: true, recurrent?.WideScan, context.Layout);
        recurrent?.Scan.copy_(final);
        return (Gated(y), values);
    }

    static Tensor Steps(RecurrentState state, SelectiveScanInputs inputs)
    {
        if (inputs.Length == 1)
        {
            var token = inputs.Token(0);
            return SelectiveScan.Step(state.Scan, token.X, token.Dt, token.A, token.B, token.C, token.D, token.Z, token.DtBias, softplus: true)
                .unsqueeze(1);
        }
        var (outputs, replay) = SelectiveScan.Steps(state.Scan, inputs);
        state.Remember(1, replay);
        return outputs;
    }

    Tensor Selected(Tensor x, string norm) => spec.SelectionNorm switch
    {
        SelectionNorm.None => x,
        SelectionNorm.Plain => RmsNorm.Forward(x.contiguous(), null, selectionEpsilon),
        SelectionNorm.Weighted => RmsNorm.Forward(x.contiguous(), Parameter(norm, x), selectionEpsilon),
        _ => throw new InvalidOperationException($"unknown selection norm {spec.SelectionNorm}"),
    };

    internal override Tensor Project(Tensor scanned) =>
        (output ?? throw new InvalidOperationException("this Mamba-1 mixer has no output projection")).Forward(scanned);

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new RecurrentState(
            zeros([batch, spec.ConvolutionWidth - 1, spec.InnerWidth], compute, device),
            zeros([batch, spec.InnerWidth, spec.StateSize], SequenceChecks.StateType(compute), device));
    }
}
