using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Cpu.StateSpace;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Cuda.StateSpace;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the state-space dual of Mamba-2 (arXiv 2405.21060). Each head has a recurrence over a P x N state with one decay per token: <c>S[t] =
/// exp(dt[t] A) S[t-1] + dt[t] x[t] B[t]^T</c>, <c>y[t] = S[t] C[t] + D x[t]</c>.
/// </summary>
/// <remarks>
/// It is computed chunk by chunk as matrix products (section 6 of the paper), with memory linear in the length. Sums and states are float32, also for
/// bfloat16 activations. If A is negative, no exponential of a positive number is computed, so a strong decay is as accurate as a weak one.
/// </remarks>
/// <example>
/// <code>
/// using var scope = NewDisposeScope();
/// Tensor x = randn(2, 128, 4, 32), dt = rand(2, 128, 4);                                     // (batch, length, heads, head size)
/// Tensor A = -rand(4), B = randn(2, 128, 1, 16), C = randn(2, 128, 1, 16);                   // one group, state size 16
/// var (output, state) = StateSpaceDual.Forward(x, dt, A, B, C);
/// Console.WriteLine($"{string.Join(" x ", output.shape)}, state {string.Join(" x ", state.shape)}");      // 2 x 128 x 4 x 32, state 2 x 4 x 32 x 16
/// </code>
/// </example>
public static class StateSpaceDual
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.StateSpaceDualBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x)
    {
        Require.Alive(x);
        return Backend == KernelBackend.LibTorch ? KernelBackend.LibTorch : SequenceChecks.Choose(Backend, x, nameof(StateSpaceDual));
    }

    /// <summary>Processes complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="x">The input, shape (batch, length, heads, head size), float32, bfloat16 or float64.</param>
    /// <param name="dt">The time steps before bias, softplus and limits, shape (batch, length, heads).</param>
    /// <param name="A">The decay A, shape (heads), float32, negative for a state that decays.</param>
    /// <param name="B">The input projection B, shape (batch, length, groups, states). Neighbouring heads share a group.</param>
    /// <param name="C">The output projection C, shape (batch, length, groups, states).</param>
    /// <param name="D">The weight D of x in the output, shape (heads). The default, null, means none.</param>
    /// <param name="dtBias">The bias, shape (heads), which is added to <paramref name="dt"/>. The default, null, means none.</param>
    /// <param name="softplus">Whether dt is the softplus of the biased time step. The default is false.</param>
    /// <param name="dtLimit">The range to which dt is clamped after the softplus. The default, null, means none.</param>
    /// <param name="initialState">The initial state, shape (batch, heads, head size, states), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <param name="chunkSize">
    /// The number of tokens per chunk, a power of two. It affects speed and memory, but not the result. It is limited to 8 to 64 tokens on the CPU
    /// and 16 to 64 on CUDA.
    /// </param>
    /// <returns>
    /// The output, shape (batch, length, heads, head size), in the dtype of x, and the state after the last token of each row, shape (batch, heads,
    /// head size, states), float32.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D = null, Tensor? dtBias = null, bool softplus = false,
        (double Minimum, double Maximum)? dtLimit = null, Tensor? initialState = null, SequenceLayout? layout = null, int chunkSize = 64) =>
        Compute(new StateSpaceDualInputs(x, dt, A, B, C)
        {
            D = D, DtBias = dtBias, Softplus = softplus, DtLimit = dtLimit, InitialState = initialState, Layout = layout, ChunkSize = chunkSize,
        });

    /// <summary>Processes complete rows.</summary>
    internal static (Tensor Output, Tensor FinalState) Compute(StateSpaceDualInputs inputs)
    {
        inputs.CheckRows();
        return BackendFor(inputs.X) switch
        {
            KernelBackend.Cpu => StateSpaceDualCpu.Forward(inputs),
            KernelBackend.Cuda => StateSpaceDualCuda.Forward(inputs),
            KernelBackend.LibTorch => ChunkedStateSpaceDual.Forward(inputs),
            _ => StateSpaceDualReference.Forward(inputs),
        };
    }

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">
    /// The state, shape (batch, heads, head size, states), float32, or bfloat16, to which it is rounded after the token. It is updated in place.
    /// </param>
    /// <param name="x">The input, shape (batch, heads, head size).</param>
    /// <param name="dt">The time steps, shape (batch, heads).</param>
    /// <param name="A">The decay A, shape (heads), float32.</param>
    /// <param name="B">The input projection B, shape (batch, groups, states).</param>
    /// <param name="C">The output projection C, shape (batch, groups, states).</param>
    /// <param name="D">The weight of x in the output, shape (heads). The default, null, means none.</param>
    /// <param name="dtBias">The bias of the time steps, shape (heads). The default, null, means none.</param>
    /// <param name="softplus">Whether dt is the softplus of the biased time step. The default is false.</param>
    /// <param name="dtLimit">The range to which dt is clamped. The default, null, means none.</param>
    /// <param name="slots">
    /// The slots of the states, shape (batch), int64. The states are then in a larger tensor (slots, ...), and that of sequence i is at slots[i].
    /// Each slot occurs at most once. -1 marks a padding row, whose output is 0 and which has no state. The default, null, means that sequence i has
    /// state i.
    /// </param>
    /// <returns>The output, shape (batch, heads, head size), in the dtype of x.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Step(
        Tensor state, Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D = null, Tensor? dtBias = null, bool softplus = false,
        (double Minimum, double Maximum)? dtLimit = null, Tensor? slots = null)
    {
        var inputs = new StateSpaceDualInputs(x, dt, A, B, C) { D = D, DtBias = dtBias, Softplus = softplus, DtLimit = dtLimit };
        inputs.CheckToken();
        SequenceChecks.StepState(state, nameof(state), x, slots is null ? "(batch, heads, head size, states)" : "(slots, heads, head size, states)",
            SlotRows.StateRows(state, slots, x), inputs.Heads, inputs.HeadSize, inputs.StateSize);
        using var noGrad = no_grad();
        var backend = StepBackend(x);
        if (backend == KernelBackend.Cuda) return StateUpdateCuda.Step(state, inputs, slots);
        return slots is null ? StepRows(backend, state, inputs)
            : SlotRows.Step(state, slots, x, (states, rows) => StepRows(backend, states, inputs.SelectRows(rows)));
    }

    /// <summary>
    /// Processes the few tokens of a pass, one after another, without a gradient. Outputs and state are those of <see cref="Step"/> for each token.
    /// </summary>
    /// <param name="state">
    /// The state, shape (batch, heads, head size, states), float32, or bfloat16, to which it is rounded after the token. It is updated in place.
    /// </param>
    /// <param name="inputs">The inputs of whole rows, without an initial state and a layout.</param>
    /// <returns>The output, shape (batch, length, heads, head size), and what returns rows to earlier tokens, which the caller disposes.</returns>
    internal static (Tensor Output, StateReplay Replay) Steps(Tensor state, StateSpaceDualInputs inputs)
    {
        inputs.CheckRows();
        SequenceChecks.StepState(state, nameof(state), inputs.X, "(batch, heads, head size, states)", inputs.Batch, inputs.Heads, inputs.HeadSize,
            inputs.StateSize);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var backend = StepBackend(inputs.X);
        var own = inputs.Map(tensor => tensor?.alias());
        StateReplay Replay(Tensor before, Action<Tensor, Tensor> run) =>
            new([before, own.X, own.Dt, own.B, own.C], [own.A, own.D, own.DtBias], run) { RunsOnDevice = backend == KernelBackend.Cuda };
        if (backend == KernelBackend.Cuda)
        {
            var before = CudaMemory.NewLike(state);
            var output = StateUpdateCuda.Steps(state, before, inputs);
            return (output.MoveToOuterDisposeScope(),
                Replay(before, (states, counts) => StateUpdateCuda.Replay(states, before, counts, own)));
        }
        var copy = state.clone();
        var outputs = new Tensor[inputs.Length];
        for (int token = 0; token < outputs.Length; token++) outputs[token] = StepRows(backend, state, inputs.Token(token));
        return (stack(outputs, 1).MoveToOuterDisposeScope(), Replay(copy, (states, counts) => StateReplay.Steps(states, copy, counts, own.Length,
            (all, token) => StepRows(backend, all, own.Token(token)))));
    }

    static KernelBackend StepBackend(Tensor x) =>
        Backend == KernelBackend.LibTorch ? KernelBackend.Reference : SequenceChecks.Choose(Backend, x, nameof(StateSpaceDual));

    static Tensor StepRows(KernelBackend backend, Tensor state, StateSpaceDualInputs inputs)
    {
        if (backend == KernelBackend.Cpu) return StateSpaceDualCpu.Step(state, inputs);
        return ReferenceStep.Run(state, () => StateSpaceDualReference.Forward(inputs.AsRows(state.to(SequenceChecks.StateType(inputs.X)))));
    }
}
