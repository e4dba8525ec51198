using HybridArchitectures.Kernels.Cpu.StateSpace;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Cuda.StateSpace;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the selective scan of Mamba-1 (arXiv 2312.00752, algorithm 2). Each channel has a diagonal linear recurrence over N states whose input,
/// output and time step depend on the token: <c>h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] x[t]</c>, <c>y[t] = C[t]·h[t] + D x[t]</c>, and with a
/// gate <c>y[t] silu(z[t])</c>. Sums and states are float32, also for bfloat16 activations.
/// </summary>
/// <example>
/// <code>
/// using var scope = NewDisposeScope();
/// Tensor x = randn(2, 100, 64), dt = randn(2, 100, 64);                                       // (batch, length, channels)
/// Tensor A = -rand(64, 16), B = randn(2, 100, 16), C = randn(2, 100, 16);
/// var (output, state) = SelectiveScan.Forward(x, dt, A, B, C, softplus: true);
/// Console.WriteLine($"{string.Join(" x ", output.shape)}, state {string.Join(" x ", state.shape)}");      // 2 x 100 x 64, state 2 x 64 x 16
/// </code>
/// </example>
public static class SelectiveScan
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.SelectiveScanBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(SelectiveScan));

    /// <summary>Scans complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="x">The input, shape (batch, length, channels), float32, bfloat16 or float64.</param>
    /// <param name="dt">The time steps before bias and softplus, shape (batch, length, channels).</param>
    /// <param name="A">The decay A, shape (channels, states), float32, negative for a state that decays.</param>
    /// <param name="B">
    /// The input projection B, shape (batch, length, states), or (batch, length, groups, states) if neighbouring channels share a group.
    /// </param>
    /// <param name="C">The output projection C, with the shape of <paramref name="B"/>.</param>
    /// <param name="D">The weight D of x in the output, shape (channels). The default, null, means none.</param>
    /// <param name="z">The gate z, shape (batch, length, channels). The output is multiplied by silu(z). The default, null, means none.</param>
    /// <param name="dtBias">The bias, shape (channels), which is added to <paramref name="dt"/>. The default, null, means none.</param>
    /// <param name="softplus">Whether dt is the softplus of the biased time step. The default is false.</param>
    /// <param name="initialState">The initial state, shape (batch, channels, states), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <returns>
    /// The output, shape (batch, length, channels), in the dtype of x, and the state after the last token of each row, shape (batch, channels,
    /// states), float32.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D = null, Tensor? z = null, Tensor? dtBias = null, bool softplus = false,
        Tensor? initialState = null, SequenceLayout? layout = null)
    {
        var inputs = new SelectiveScanInputs(x, dt, A, B, C)
        {
            D = D, Z = z, DtBias = dtBias, Softplus = softplus, InitialState = initialState, Layout = layout,
        };
        inputs.CheckRows();
        var backend = SelectBackend(inputs);
        using var scope = NewDisposeScope();
        inputs = inputs.WithGroups();
        var (output, state) = backend switch
        {
            KernelBackend.Cpu => SelectiveScanCpu.Forward(inputs),
            KernelBackend.Cuda => SelectiveScanCuda.Forward(inputs),
            _ => SelectiveScanReference.Forward(inputs),
        };
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">
    /// The state, shape (batch, channels, states), float32, or bfloat16, to which it is rounded after the token. It is updated in place.
    /// </param>
    /// <param name="x">The input, shape (batch, channels).</param>
    /// <param name="dt">The time steps, shape (batch, channels).</param>
    /// <param name="A">The decay A, shape (channels, states), float32.</param>
    /// <param name="B">The input projection B, shape (batch, states) or (batch, groups, states).</param>
    /// <param name="C">The output projection C, with the shape of <paramref name="B"/>.</param>
    /// <param name="D">The weight of x in the output, shape (channels). The default, null, means none.</param>
    /// <param name="z">The gate z, shape (batch, channels). The default, null, means none.</param>
    /// <param name="dtBias">The bias of the time steps, shape (channels). The default, null, means none.</param>
    /// <param name="softplus">Whether dt is the softplus of the biased time step. The default is false.</param>
    /// <param name="slots">
    /// The slots of the states, shape (batch), int64. The states are then in a larger tensor (slots, ...), and that of sequence i is at slots[i].
    /// Each slot occurs at most once. -1 marks a padding row, whose output is 0 and which has no state. The default, null, means that sequence i has
    /// state i.
    /// </param>
    /// <returns>The output, shape (batch, channels), in the dtype of x.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Step(
        Tensor state, Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D = null, Tensor? z = null, Tensor? dtBias = null,
        bool softplus = false, Tensor? slots = null)
    {
        var inputs = new SelectiveScanInputs(x, dt, A, B, C) { D = D, Z = z, DtBias = dtBias, Softplus = softplus };
        inputs.CheckToken();
        SequenceChecks.StepState(state, nameof(state), x, slots is null ? "(batch, channels, states)" : "(slots, channels, states)",
            SlotRows.StateRows(state, slots, x), inputs.Channels, inputs.StateSize);
        var backend = BackendFor(x);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        inputs = inputs.WithGroups();
        var output = backend == KernelBackend.Cuda ? StateUpdateCuda.Step(state, inputs, slots)
            : slots is null ? StepRows(backend, state, inputs)
            : SlotRows.Step(state, slots, x, (states, rows) => StepRows(backend, states, inputs.SelectRows(rows)));
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Processes the few tokens of a pass, one after another, without a gradient. Outputs and state are those of <see cref="Step"/> for each token.
    /// </summary>
    /// <param name="state">
    /// The state, shape (batch, channels, states), float32, or bfloat16, to which it is rounded after the token. It is updated in place.
    /// </param>
    /// <param name="inputs">The inputs of whole rows, without an initial state and a layout.</param>
    /// <returns>The output, shape (batch, length, channels), and what returns rows to earlier tokens, which the caller disposes.</returns>
    internal static (Tensor Output, StateReplay Replay) Steps(Tensor state, SelectiveScanInputs inputs)
    {
        inputs.CheckRows();
        SequenceChecks.StepState(state, nameof(state), inputs.X, "(batch, channels, states)", inputs.Batch, inputs.Channels, inputs.StateSize);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var backend = BackendFor(inputs.X);
        var own = inputs.WithGroups().Map(tensor => tensor?.alias());
        StateReplay Replay(Tensor before, Action<Tensor, Tensor> run) =>
            new([before, own.X, own.Dt, own.B, own.C, own.Z], [own.A, own.D, own.DtBias], run) { RunsOnDevice = backend == KernelBackend.Cuda };
        if (backend == KernelBackend.Cuda)
        {
            var before = CudaMemory.NewLike(state);
            var output = StateUpdateCuda.Steps(state, before, own);
            return (output.MoveToOuterDisposeScope(),
                Replay(before, (states, counts) => StateUpdateCuda.Replay(states, before, counts, own)));
        }
        var copy = state.clone();
        var outputs = new Tensor[inputs.Length];
        for (int token = 0; token < outputs.Length; token++) outputs[token] = StepRows(backend, state, own.Token(token));
        return (stack(outputs, 1).MoveToOuterDisposeScope(), Replay(copy, (states, counts) => StateReplay.Steps(states, copy, counts, own.Length,
            (all, token) => StepRows(backend, all, own.Token(token)))));
    }

    static Tensor StepRows(KernelBackend backend, Tensor state, SelectiveScanInputs inputs)
    {
        if (backend == KernelBackend.Cpu) return SelectiveScanCpu.Step(state, inputs);
        return ReferenceStep.Run(state, () => SelectiveScanReference.Forward(inputs.AsRows(state.to(SequenceChecks.StateType(inputs.X)))));
    }

    static KernelBackend SelectBackend(SelectiveScanInputs inputs)
    {
        var backend = BackendFor(inputs.X);
        if (backend == KernelBackend.Cuda && inputs.StateSize > SelectiveScanCuda.MaxStates)
            throw Require.Unfit(nameof(inputs.A), $"A has {inputs.StateSize} states",
                $"at most {SelectiveScanCuda.MaxStates} for the CUDA back end; use the back end Reference (OperatorOptions) for more");
        return backend;
    }
}
