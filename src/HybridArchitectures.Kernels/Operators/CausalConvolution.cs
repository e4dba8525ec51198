using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the short depthwise convolution before a state-space layer: <c>y[t, c] = bias[c] + sum over k of weight[c, k] x[t - (W-1) + k, c]</c>,
/// optionally followed by SiLU. A token sees itself and the W-1 tokens before it. Sums are float32, also for bfloat16 activations.
/// </summary>
public static class CausalConvolution
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.CausalConvolutionBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(CausalConvolution));

    /// <summary>Processes complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="x">The input, shape (B, L, C), float32, bfloat16 or float64.</param>
    /// <param name="weight">The filter, shape (C, W). The last element multiplies the token itself.</param>
    /// <param name="bias">The bias, shape (C). The default, null, means none.</param>
    /// <param name="silu">Whether SiLU is applied to the sum. The default is false.</param>
    /// <param name="initialState">
    /// The inputs before column 0, shape (B, W-1, C), in the dtype of x, newest last. The default, null, means zero.
    /// </param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <returns>
    /// The output, shape (B, L, C), and the last W-1 inputs of each row, shape (B, W-1, C), zeros before the start of its last document. Both are in
    /// the dtype of x.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor weight, Tensor? bias = null, bool silu = false, Tensor? initialState = null,
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

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">The last inputs, shape (B, W-1, C), in the dtype of x, newest last. It is updated in place.</param>
    /// <param name="x">The input, shape (B, C).</param>
    /// <param name="weight">The filter, shape (C, W).</param>
    /// <param name="bias">The bias, shape (C). The default, null, means none.</param>
    /// <param name="silu">Whether SiLU is applied to the sum. The default is false.</param>
    /// <param name="slots">
    /// The slots of the states, shape (B), int64. The states are then in a larger tensor (slots, ...), and that of sequence i is at slots[i]. Each
    /// slot occurs at most once. -1 marks a padding row, whose output is 0 and which has no state. The default, null, means that sequence i has state
    /// i.
    /// </param>
    /// <returns>The output, shape (B, C), in the dtype of x.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
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
            throw Require.Unfit("weight", $"weight has width {width}",
                $"at most {CausalConvolutionCuda.MaxWidth} for the CUDA back end; use the back end Reference (OperatorOptions) for more");
        return backend;
    }

    static long Parameters(Tensor x, long channels, Tensor weight, Tensor? bias)
    {
        ArgumentNullException.ThrowIfNull(weight);
        if (weight.dim() != 2 || weight.size(1) == 0)
            throw Require.Unfit(nameof(weight), $"weight has shape {Checks.Describe(weight)}", $"(channels, width) = ({channels}, at least 1)");
        SequenceChecks.Beside(weight, nameof(weight), x, "(channels, width)", channels, weight.size(1));
        if (bias is not null) SequenceChecks.Beside(bias, nameof(bias), x, "(channels)", channels);
        return weight.size(1);
    }

    static void State(Tensor state, string name, Tensor x, long width, long channels, long? rows = null)
    {
        SequenceChecks.Beside(state, name, x, "(batch or slots, width - 1, channels)", rows ?? x.size(0), width - 1, channels);
        if (state.dtype != x.dtype) throw Require.Refusal(name, state.dtype, $"{x.dtype}, the type of x");
    }
}
