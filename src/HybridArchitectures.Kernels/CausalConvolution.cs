using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// The short depthwise convolution along the sequence that stands before a state-space layer:
/// <c>y[t, c] = bias[c] + sum over k of weight[c, k] x[t - (W-1) + k, c]</c>, and with <c>silu</c> the SiLU of it. A token sees itself and the W-1 before it.
/// Sums are float32, also for bfloat16 activations.
/// </summary>
public static class CausalConvolution
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(CausalConvolution));

    /// <summary>Runs over whole rows. Differentiable in every tensor, the final state included.</summary>
    /// <param name="x">(B, L, C) float32, bfloat16 or float64.</param>
    /// <param name="weight">(C, W): the last tap is the token itself.</param>
    /// <param name="bias">(C).</param>
    /// <param name="silu">Whether the SiLU is taken of the sum.</param>
    /// <param name="initialState">(B, W-1, C) in x's type: the inputs before column 0, newest last; null for zero.</param>
    /// <param name="layout">Pads and documents; null for full rows of one document.</param>
    /// <returns>The output (B, L, C), and the last W-1 inputs of each row (B, W-1, C), zeros before its last document's start; both in x's type.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor weight, Tensor? bias = null, bool silu = false, Tensor? initialState = null,
        SequenceLayout? layout = null)
    {
        SequenceChecks.Activations(x, nameof(x), "(batch, length, channels)", 3);
        long channels = x.size(2), width = Parameters(x, channels, weight, bias);
        if (initialState is not null) State(initialState, nameof(initialState), x, width, channels);
        SequenceChecks.Layout(layout, x);
        return Chosen(x, width) switch
        {
            KernelBackend.Cpu => CausalConvolutionCpu.Forward(x, weight, bias, silu, initialState, layout),
            KernelBackend.Cuda => CausalConvolutionCuda.Forward(x, weight, bias, silu, initialState, layout),
            _ => CausalConvolutionReference.Forward(x, weight, bias, silu, initialState, layout),
        };
    }

    /// <summary>One token, without gradient: the same as <see cref="Forward"/> over rows of one token.</summary>
    /// <param name="state">(B, W-1, C) in x's type: the last inputs, newest last; updated in place.</param>
    /// <param name="x">(B, C).</param>
    /// <param name="weight">(C, W).</param>
    /// <param name="bias">(C).</param>
    /// <param name="silu">Whether the SiLU is taken of the sum.</param>
    /// <param name="slots">(B) int64: the states lie in a larger tensor (slots, ...), and sequence i's at slots[i], each at most once; -1 marks a row that is padding, whose output
    /// is 0 and which touches no state. Null where sequence i has state i.</param>
    /// <returns>The output (B, C) in x's type.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor x, Tensor weight, Tensor? bias = null, bool silu = false, Tensor? slots = null)
    {
        SequenceChecks.Activations(x, nameof(x), "(batch, channels)", 2);
        long channels = x.size(1), width = Parameters(x, channels, weight, bias);
        SequenceChecks.Updatable(state, nameof(state));
        State(state, nameof(state), x, width, channels, SlotRows.StateRows(state, slots, x));
        using var noGrad = no_grad();
        var backend = Chosen(x, width);
        if (slots is not null && backend != KernelBackend.Cuda)
            return SlotRows.Step(state, slots, x, (states, rows) => Step(states, x.index_select(0, rows), weight, bias, silu));
        if (backend == KernelBackend.Cpu) return CausalConvolutionCpu.Step(state, x, weight, bias, silu);
        if (backend == KernelBackend.Cuda) return CausalConvolutionCuda.Step(state, x, weight, bias, silu, slots);
        using var scope = NewDisposeScope();
        var (output, after) = CausalConvolutionReference.Forward(x.unsqueeze(1), weight, bias, silu, state, null);
        state.copy_(after);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }

    static KernelBackend Chosen(Tensor x, long width)
    {
        var backend = BackendFor(x);
        if (backend == KernelBackend.Cuda && width > CausalConvolutionCuda.MaxWidth)
            throw new ArgumentException($"weight has {width} taps; the CUDA back end takes up to {CausalConvolutionCuda.MaxWidth}: set CausalConvolution.Backend to Reference", "weight");
        return backend;
    }

    static long Parameters(Tensor x, long channels, Tensor weight, Tensor? bias)
    {
        ArgumentNullException.ThrowIfNull(weight);
        if (weight.dim() != 2 || weight.size(1) == 0)
            throw new ArgumentException($"weight has shape {Checks.Describe(weight)}; expected (channels, width) = ({channels}, at least 1)", nameof(weight));
        SequenceChecks.Beside(weight, nameof(weight), x, "(channels, width)", channels, weight.size(1));
        if (bias is not null) SequenceChecks.Beside(bias, nameof(bias), x, "(channels)", channels);
        return weight.size(1);
    }

    static void State(Tensor state, string name, Tensor x, long width, long channels, long? rows = null)
    {
        SequenceChecks.Beside(state, name, x, "(batch or slots, width - 1, channels)", rows ?? x.size(0), width - 1, channels);
        if (state.dtype != x.dtype) throw new ArgumentException($"{name} is {state.dtype}; expected {x.dtype}, the type of x", name);
    }
}
