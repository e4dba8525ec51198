using HybridArchitectures.Kernels.Cpu.StateSpace;
using HybridArchitectures.Kernels.Cuda.StateSpace;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the selective scan of Mamba-1 (arXiv 2312.00752, algorithm 2). Each channel has a diagonal linear recurrence over N states whose input,
/// output and time step depend on the token: <c>h[t] = exp(dt[t] a) h[t-1] + dt[t] b[t] x[t]</c>, <c>y[t] = c[t]·h[t] + skip x[t]</c>, and with a
/// gate <c>y[t] silu(gate[t])</c>. Sums and states are float32, also for bfloat16 activations.
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
    /// <param name="x">The input, shape (B, L, D), float32, bfloat16 or float64.</param>
    /// <param name="timeStep">The time steps dt before bias and softplus, shape (B, L, D).</param>
    /// <param name="a">The decay A, shape (D, N), float32, negative for a state that decays.</param>
    /// <param name="b">The input projection B, shape (B, L, N), or (B, L, G, N) if D/G neighbouring channels share a group.</param>
    /// <param name="c">The output projection C, with the shape of <paramref name="b"/>.</param>
    /// <param name="skip">The weight D of x in the output, shape (D). The default, null, means none.</param>
    /// <param name="gate">The gate z, shape (B, L, D). The output is multiplied by silu(gate). The default, null, means none.</param>
    /// <param name="timeStepBias">The bias, shape (D), which is added to <paramref name="timeStep"/>. The default, null, means none.</param>
    /// <param name="softplus">Whether dt is the softplus of the biased time step. The default is false.</param>
    /// <param name="initialState">The initial state, shape (B, D, N), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <returns>The output, shape (B, L, D), in the dtype of x, and the state after the last token of each row, shape (B, D, N), float32.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip = null, Tensor? gate = null,
        Tensor? timeStepBias = null, bool softplus = false, Tensor? initialState = null, SequenceLayout? layout = null)
    {
        SequenceChecks.Activations(x, nameof(x), "(batch, length, channels)", 3);
        long batch = x.size(0), length = x.size(1), channels = x.size(2);
        SequenceChecks.Beside(timeStep, nameof(timeStep), x, "(batch, length, channels)", batch, length, channels);
        if (gate is not null) SequenceChecks.Beside(gate, nameof(gate), x, "(batch, length, channels)", batch, length, channels);
        Parameters(x, channels, a, skip, timeStepBias);
        long stateSize = a.size(1), groups = Grouped(b, nameof(b), x, 3, stateSize, "(batch, length, [groups,] states)", batch, length);
        if (Grouped(c, nameof(c), x, 3, stateSize, "(batch, length, [groups,] states)", batch, length) != groups || c.dim() != b.dim())
            throw Require.Unfit(nameof(c), $"c has shape {Checks.Describe(c)}", $"that of b, {Checks.Describe(b)}");
        SequenceChecks.State(initialState, nameof(initialState), x, "(batch, channels, states)", batch, channels, stateSize);
        SequenceChecks.Layout(layout, x);
        var backend = Chosen(x, stateSize);
        using var scope = NewDisposeScope();
        if (b.dim() == 3) (b, c) = (b.unsqueeze(2), c.unsqueeze(2));
        var (output, state) = backend switch
        {
            KernelBackend.Cpu => SelectiveScanCpu.Forward(x, timeStep, a, b, c, skip, gate, timeStepBias, softplus, initialState, layout),
            KernelBackend.Cuda => SelectiveScanCuda.Forward(x, timeStep, a, b, c, skip, gate, timeStepBias, softplus, initialState, layout),
            _ => SelectiveScanReference.Forward(x, timeStep, a, b, c, skip, gate, timeStepBias, softplus, initialState, layout),
        };
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">The state, shape (B, D, N), float32. It is updated in place.</param>
    /// <param name="x">The input, shape (B, D).</param>
    /// <param name="timeStep">The time steps, shape (B, D).</param>
    /// <param name="a">The decay A, shape (D, N), float32.</param>
    /// <param name="b">The input projection B, shape (B, N) or (B, G, N).</param>
    /// <param name="c">The output projection C, with the shape of <paramref name="b"/>.</param>
    /// <param name="skip">The weight of x in the output, shape (D). The default, null, means none.</param>
    /// <param name="gate">The gate z, shape (B, D). The default, null, means none.</param>
    /// <param name="timeStepBias">The bias of the time steps, shape (D). The default, null, means none.</param>
    /// <param name="softplus">Whether dt is the softplus of the biased time step. The default is false.</param>
    /// <param name="slots">
    /// The slots of the states, shape (B), int64. The states are then in a larger tensor (slots, ...), and that of sequence i is at slots[i]. Each
    /// slot occurs at most once. -1 marks a padding row, whose output is 0 and which has no state. The default, null, means that sequence i has state
    /// i.
    /// </param>
    /// <returns>The output, shape (B, D), in the dtype of x.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip = null, Tensor? gate = null,
        Tensor? timeStepBias = null, bool softplus = false, Tensor? slots = null)
    {
        SequenceChecks.Activations(x, nameof(x), "(batch, channels)", 2);
        long batch = x.size(0), channels = x.size(1);
        SequenceChecks.Beside(timeStep, nameof(timeStep), x, "(batch, channels)", batch, channels);
        if (gate is not null) SequenceChecks.Beside(gate, nameof(gate), x, "(batch, channels)", batch, channels);
        Parameters(x, channels, a, skip, timeStepBias);
        long stateSize = a.size(1), groups = Grouped(b, nameof(b), x, 2, stateSize, "(batch, [groups,] states)", batch);
        if (Grouped(c, nameof(c), x, 2, stateSize, "(batch, [groups,] states)", batch) != groups || c.dim() != b.dim())
            throw Require.Unfit(nameof(c), $"c has shape {Checks.Describe(c)}", $"that of b, {Checks.Describe(b)}");
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), x, slots is null ? "(batch, channels, states)" : "(slots, channels, states)",
            SlotRows.StateRows(state, slots, x), channels, stateSize);
        var backend = BackendFor(x);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (b.dim() == 2) (b, c) = (b.unsqueeze(1), c.unsqueeze(1));
        if (slots is not null && backend != KernelBackend.Cuda)
            return SlotRows.Step(state, slots, x, (states, rows) =>
                Step(states, x.index_select(0, rows), timeStep.index_select(0, rows), a, b.index_select(0, rows),
                c.index_select(0, rows), skip, gate?.index_select(0, rows), timeStepBias, softplus)).MoveToOuterDisposeScope();
        if (backend == KernelBackend.Cpu)
            return SelectiveScanCpu.Step(state, x, timeStep, a, b, c, skip, gate, timeStepBias, softplus).MoveToOuterDisposeScope();
        if (backend == KernelBackend.Cuda)
            return StateUpdateCuda.Step(state, x, timeStep, a, b, c, skip, gate, timeStepBias, softplus, null, slots).MoveToOuterDisposeScope();
        var (output, after) = SelectiveScanReference.Forward(
            x.unsqueeze(1), timeStep.unsqueeze(1), a, b.unsqueeze(1), c.unsqueeze(1), skip, gate?.unsqueeze(1),
            timeStepBias, softplus, state, null);
        state.copy_(after);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }

    static KernelBackend Chosen(Tensor x, long stateSize)
    {
        var backend = BackendFor(x);
        if (backend == KernelBackend.Cuda && stateSize > SelectiveScanCuda.MaxStates)
            throw Require.Unfit("a", $"a has {stateSize} states",
                $"at most {SelectiveScanCuda.MaxStates} for the CUDA back end; use the back end Reference (OperatorOptions) for more");
        return backend;
    }

    static void Parameters(Tensor x, long channels, Tensor a, Tensor? skip, Tensor? timeStepBias)
    {
        ArgumentNullException.ThrowIfNull(a);
        if (a.dim() != 2 || a.size(0) != channels || a.size(1) == 0)
            throw Require.Unfit(nameof(a), $"a has shape {Checks.Describe(a)}", $"(channels, states) = ({channels}, at least 1)");
        SequenceChecks.State(a, nameof(a), x, "(channels, states)", channels, a.size(1));
        if (skip is not null) SequenceChecks.Beside(skip, nameof(skip), x, "(channels)", channels);
        if (timeStepBias is not null) SequenceChecks.Beside(timeStepBias, nameof(timeStepBias), x, "(channels)", channels);
    }

    // checks (outer..., [G,] N) and returns G
    static long Grouped(Tensor tensor, string name, Tensor x, int dimensions, long stateSize, string meaning, params ReadOnlySpan<long> outer)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        bool grouped = tensor.dim() == dimensions + 1;
        long groups = grouped ? SequenceChecks.Groups(tensor.size(dimensions - 1), x.size(-1), name, "channels") : 1;
        SequenceChecks.Beside(tensor, name, x, meaning, grouped ? [.. outer, groups, stateSize] : [.. outer, stateSize]);
        return groups;
    }
}
