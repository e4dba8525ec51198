using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the short depthwise convolution before a state-space layer: <c>y[t, c] = bias[c] + sum over k of weight[c, k] x[t - (W-1) + k, c]</c>,
/// optionally followed by SiLU. A token sees itself and the W-1 tokens before it. Sums are float32, also for bfloat16 activations.
/// </summary>
/// <remarks>Shapes: B rows, L tokens, C channels, W taps of the filter.</remarks>
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
        Tensor x, Tensor weight, Tensor? bias = null, bool silu = false, Tensor? initialState = null, SequenceLayout? layout = null) =>
        Compute(new CausalConvolutionInputs(x, weight, bias) { Silu = silu, InitialState = initialState, Layout = layout });

    /// <summary>Processes complete rows.</summary>
    internal static (Tensor Output, Tensor FinalState) Compute(CausalConvolutionInputs inputs)
    {
        inputs.CheckRows();
        return Chosen(inputs) switch
        {
            KernelBackend.Cpu => CausalConvolutionCpu.Forward(inputs),
            KernelBackend.Cuda => CausalConvolutionCuda.Forward(inputs),
            _ => CausalConvolutionReference.Forward(inputs),
        };
    }

    /// <summary>
    /// Offers to compute the output of a convolution without an initial state again for operators that read it, until the offer is disposed. Returns
    /// null if no gradient is recorded, or the options say so.
    /// </summary>
    /// <param name="output">The output of <see cref="Forward"/>.</param>
    /// <param name="x">The input.</param>
    /// <param name="weight">The filter.</param>
    /// <param name="bias">The bias. Null means none.</param>
    /// <param name="silu">Whether SiLU is applied.</param>
    /// <param name="layout">Padding and documents. Null means full rows of one document.</param>
    internal static IDisposable? Offer(Tensor output, Tensor x, Tensor weight, Tensor? bias, bool silu, SequenceLayout? layout) =>
        !OperatorOptions.Current.RecomputeInputs ? null : Recomputation.Offer(output,
            new ConvolutionComputation(new(x, weight, bias) { Silu = silu }, layout, layout?.Tensors ?? []), static computation =>
            {
                using var again = computation.Layout?.Over(computation.LayoutTensors);
                return Compute(computation.Inputs with { Layout = again }).Output;
            });

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
        var inputs = new CausalConvolutionInputs(x, weight, bias) { Silu = silu };
        inputs.CheckToken();
        SequenceChecks.Updatable(state, nameof(state));
        inputs.CheckState(state, nameof(state), SlotRows.StateRows(state, slots, x));
        using var noGrad = no_grad();
        var backend = Chosen(inputs);
        if (backend == KernelBackend.Cuda) return CausalConvolutionCuda.Step(state, inputs, slots);
        return slots is null ? StepRows(backend, state, inputs)
            : SlotRows.Step(state, slots, x, (states, rows) => StepRows(backend, states, inputs with { X = x.index_select(0, rows) }));
    }

    /// <summary>
    /// Processes the few tokens of a pass without a gradient. The output is that of <see cref="Forward"/>; on a GPU, tokens are processed as by
    /// <see cref="Step"/>.
    /// </summary>
    /// <param name="state">The last inputs, shape (B, W-1, C), in the dtype of x, newest last. It is updated in place.</param>
    /// <param name="inputs">The inputs of whole rows, without an initial state and a layout.</param>
    /// <returns>The output, shape (B, L, C), and what returns rows to earlier tokens, which the caller disposes.</returns>
    internal static (Tensor Output, StateReplay Replay) Steps(Tensor state, CausalConvolutionInputs inputs)
    {
        inputs.CheckRows();
        SequenceChecks.Updatable(state, nameof(state));
        inputs.CheckState(state, nameof(state), inputs.Batch);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var own = inputs.Map(tensor => tensor?.alias());
        if (Chosen(inputs) == KernelBackend.Cuda)
        {
            var before = CudaMemory.NewLike(state);
            var output = CausalConvolutionCuda.Steps(state, before, inputs);
            return (output.MoveToOuterDisposeScope(), ReplayOnCuda(before, own));
        }
        var copy = state.clone();
        var (result, final) = Forward(inputs.X, inputs.Weight, inputs.Bias, inputs.Silu, copy);
        state.copy_(final);
        return (result.MoveToOuterDisposeScope(), new([copy, own.X], [own.Weight, own.Bias], (states, counts) =>
        {
            var values = TensorMemory.ToArray<long>(counts);
            for (int row = 0; row < values.Length; row++)
                if (values[row] < own.Length)
                    states.select(0, row).copy_(cat([copy.select(0, row), own.X.select(0, row)], 0).narrow(0, values[row], own.Width - 1));
        }));
    }

    /// <summary>
    /// Returns a convolution in a product on a GPU over several tokens of each sequence, with memory for what returns rows to earlier tokens.
    /// </summary>
    /// <param name="step">The convolution over one token.</param>
    /// <param name="length">The number of tokens of each sequence.</param>
    internal static FewRowsConvolutionStep OverTokens(FewRowsConvolutionStep step, long length)
    {
        var state = step.State;
        return step with
        {
            Length = length, Before = CudaMemory.NewLike(state), Inputs = CudaMemory.New(state, state.dtype, state.size(0), length, state.size(2)),
        };
    }

    /// <summary>Returns what returns rows to earlier tokens after a product with the convolution of several tokens.</summary>
    /// <param name="step">The convolution, which the product has computed.</param>
    internal static StateReplay Replay(FewRowsConvolutionStep step)
    {
        using var noGrad = no_grad();
        return ReplayOnCuda(step.Before!, new(step.Inputs!, step.Weight.alias(), step.Bias?.alias()) { Silu = step.IsSilu });
    }

    static StateReplay ReplayOnCuda(Tensor before, CausalConvolutionInputs own) => new([before, own.X], [own.Weight, own.Bias],
        (states, counts) => CausalConvolutionCuda.Replay(states, before, counts, own)) { RunsOnDevice = true };

    static Tensor StepRows(KernelBackend backend, Tensor state, CausalConvolutionInputs inputs)
    {
        if (backend == KernelBackend.Cpu) return CausalConvolutionCpu.Step(state, inputs);
        return ReferenceStep.Run(state, () => CausalConvolutionReference.Forward(inputs with { X = inputs.X.unsqueeze(1), InitialState = state }));
    }

    static KernelBackend Chosen(CausalConvolutionInputs inputs)
    {
        var backend = BackendFor(inputs.X);
        if (backend == KernelBackend.Cuda && inputs.Width > CausalConvolutionCuda.MaxWidth)
            throw Require.Unfit("weight", $"weight has width {inputs.Width}",
                $"at most {CausalConvolutionCuda.MaxWidth} for the CUDA back end; use the back end Reference (OperatorOptions) for more");
        return backend;
    }
}
