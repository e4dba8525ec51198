using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Represents a state-space mixer in two steps, so that an intra-layer hybrid can apply norm and fusion between the scan and the output projection.
/// </summary>
public abstract class StateSpaceMixer : Mixer
{
    private protected StateSpaceMixer(string kind, MixerSpec? spec) : base(kind, spec) { }

    /// <summary>
    /// Returns (batch, length, innerWidth) before the output projection, and the input of the scan after the convolution, of the same shape.
    /// </summary>
    internal abstract (Tensor Output, Tensor Values) Scan(Tensor x, SequenceContext context, MixerState? state);

    /// <summary>Computes the scan of a decoding step; null, without an effect, if the mixer cannot.</summary>
    internal virtual (Tensor Output, Tensor Values)? ScanStep(StepInput input, SequenceContext context, MixerState state) => null;

    /// <summary>Applies the output projection: (batch, length, innerWidth) to (batch, length, width).</summary>
    internal abstract Tensor Project(Tensor scanned);

    /// <inheritdoc/>
    public sealed override Tensor Forward(Tensor x, SequenceContext context, MixerState? state) => ScanAndProject(x, context, state);

    private protected virtual Tensor ScanAndProject(Tensor x, SequenceContext context, MixerState? state) =>
        Project(Scan(x, context, state).Output);

    private protected static RecurrentState? Recurrent(MixerState? state) => ModuleChecks.State<RecurrentState>(state, "a state-space mixer");

    /// <summary>Returns the time steps after bias, softplus and limits, in float32 or wider, for <see cref="IPassProbe"/>.</summary>
    private protected Tensor TimeSteps(Tensor raw, (double Minimum, double Maximum)? limit, SequenceContext context)
    {
        var type = SequenceChecks.StateType(raw);
        return SequenceMasks.TimeStep(raw.to(type), Parameter("dt_bias").to(type), true, limit, context.Layout);
    }

    /// <summary>Returns whether x (batch, 1, ...) is the next token of every row, so that its state can be updated in place.</summary>
    private protected static bool IsStep(Tensor x, RecurrentState? state, SequenceContext context) =>
        state is not null && (x.size(1) == 1 || context.IsStepwise) && context.Layout is null && !is_grad_enabled();

    /// <summary>Computes the causal convolution with its nonlinearity, and continues and updates the state.</summary>
    private protected static Tensor Convolve(
        TensorSlice input, Tensor weight, Tensor? bias, Activation activation, RecurrentState? state, SequenceContext context)
    {
        var x = input.Tensor;
        bool silu = activation == Activation.Silu;
        var output = x.size(1) == 1 && IsStep(x, state, context)
            ? CausalConvolution.Step(state!.Convolution, x.select(1, 0), weight, bias, silu).unsqueeze(1)
            : StatefulConvolution.Forward(input, weight, bias, silu, state, context);
        return silu ? output : Activations.Apply(activation, output);
    }
}
