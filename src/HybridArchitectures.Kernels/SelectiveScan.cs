using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// The selective scan of Mamba (arXiv 2312.00752, algorithm 2): per channel d a diagonal linear recurrence over N states whose input, output and step
/// size depend on the token,
/// <c>h[t] = exp(delta[t] a) h[t-1] + delta[t] b[t] x[t]</c>, <c>y[t] = c[t]·h[t] + skip x[t]</c>, and with a gate <c>y[t] silu(gate[t])</c>.
/// Sums and states are float32, also for bfloat16 activations.
/// </summary>
public static class SelectiveScan
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(SelectiveScan));

    /// <summary>Scans whole rows. Differentiable in every tensor, the final state included.</summary>
    /// <param name="x">(B, L, D) float32, bfloat16 or float64.</param>
    /// <param name="timeStep">(B, L, D): the step sizes delta, before bias and softplus.</param>
    /// <param name="a">(D, N) float32, negative for a state that decays.</param>
    /// <param name="b">(B, L, N), or (B, L, G, N) where each D/G neighbouring channels share a group.</param>
    /// <param name="c">Shaped like <paramref name="b"/>.</param>
    /// <param name="skip">(D): the weight of x in the output.</param>
    /// <param name="gate">(B, L, D): the output is multiplied by silu of it.</param>
    /// <param name="timeStepBias">(D), added to <paramref name="timeStep"/>.</param>
    /// <param name="softplus">Whether delta is the softplus of the biased step.</param>
    /// <param name="initialState">(B, D, N) float32; null for zero.</param>
    /// <param name="layout">Pads and documents; null for full rows of one document.</param>
    /// <returns>The output (B, L, D) in x's type, and the state (B, D, N) float32 after each row's last token.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip = null, Tensor? gate = null,
        Tensor? timeStepBias = null, bool softplus = false, Tensor? initialState = null, SequenceLayout? layout = null)
    {
        SequenceChecks.Activations(x, nameof(x), "(batch, length, channels)", 3);
        long batch = x.size(0), length = x.size(1), channels = x.size(2);
        SequenceChecks.Beside(timeStep, nameof(timeStep), x, "(batch, length, channels)", batch, length, channels);
        if (gate is not null) SequenceChecks.Beside(gate, nameof(gate), x, "(batch, length, channels)", batch, length, channels);
        Parameters(x, channels, a, skip, timeStepBias);
        long stateSize = a.size(1), groups = Grouped(b, nameof(b), x, 3, stateSize, "(batch, length, [groups,] states)", batch, length);
        if (Grouped(c, nameof(c), x, 3, stateSize, "(batch, length, [groups,] states)", batch, length) != groups || c.dim() != b.dim())
            throw new ArgumentException($"c has shape {Checks.Describe(c)}; expected that of b, {Checks.Describe(b)}", nameof(c));
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

    /// <summary>One token, without gradient: the same as <see cref="Forward"/> over rows of one token.</summary>
    /// <param name="state">(B, D, N) float32, updated in place.</param>
    /// <param name="x">(B, D).</param>
    /// <param name="timeStep">(B, D).</param>
    /// <param name="a">(D, N) float32.</param>
    /// <param name="b">(B, N) or (B, G, N).</param>
    /// <param name="c">Shaped like <paramref name="b"/>.</param>
    /// <param name="skip">(D).</param>
    /// <param name="gate">(B, D).</param>
    /// <param name="timeStepBias">(D).</param>
    /// <param name="softplus">Whether delta is the softplus of the biased step.</param>
    /// <param name="slots">(B) int64: the states lie in a larger tensor (slots, ...), and sequence i's at slots[i], each at most once; -1 marks a row that is padding, whose output
    /// is 0 and which touches no state. Null where sequence i has state i.</param>
    /// <returns>The output (B, D) in x's type.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
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
            throw new ArgumentException($"c has shape {Checks.Describe(c)}; expected that of b, {Checks.Describe(b)}", nameof(c));
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), x, slots is null ? "(batch, channels, states)" : "(slots, channels, states)", SlotRows.StateRows(state, slots, x), channels, stateSize);
        var backend = BackendFor(x);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (b.dim() == 2) (b, c) = (b.unsqueeze(1), c.unsqueeze(1));
        if (slots is not null && backend != KernelBackend.Cuda)
            return SlotRows.Step(state, slots, x, (states, rows) => Step(states, x.index_select(0, rows), timeStep.index_select(0, rows), a, b.index_select(0, rows),
                c.index_select(0, rows), skip, gate?.index_select(0, rows), timeStepBias, softplus)).MoveToOuterDisposeScope();
        if (backend == KernelBackend.Cpu) return SelectiveScanCpu.Step(state, x, timeStep, a, b, c, skip, gate, timeStepBias, softplus).MoveToOuterDisposeScope();
        if (backend == KernelBackend.Cuda) return StateUpdateCuda.Step(state, x, timeStep, a, b, c, skip, gate, timeStepBias, softplus, null, slots).MoveToOuterDisposeScope();
        var (output, after) = SelectiveScanReference.Forward(x.unsqueeze(1), timeStep.unsqueeze(1), a, b.unsqueeze(1), c.unsqueeze(1), skip, gate?.unsqueeze(1),
            timeStepBias, softplus, state, null);
        state.copy_(after);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }

    static KernelBackend Chosen(Tensor x, long stateSize)
    {
        var backend = BackendFor(x);
        if (backend == KernelBackend.Cuda && stateSize > SelectiveScanCuda.MaxStates)
            throw new ArgumentException($"a has {stateSize} states; the CUDA back end takes up to {SelectiveScanCuda.MaxStates}: set SelectiveScan.Backend to Reference", "a");
        return backend;
    }

    static void Parameters(Tensor x, long channels, Tensor a, Tensor? skip, Tensor? timeStepBias)
    {
        ArgumentNullException.ThrowIfNull(a);
        if (a.dim() != 2 || a.size(0) != channels || a.size(1) == 0)
            throw new ArgumentException($"a has shape {Checks.Describe(a)}; expected (channels, states) = ({channels}, at least 1)", nameof(a));
        SequenceChecks.State(a, nameof(a), x, "(channels, states)", channels, a.size(1));
        if (skip is not null) SequenceChecks.Beside(skip, nameof(skip), x, "(channels)", channels);
        if (timeStepBias is not null) SequenceChecks.Beside(timeStepBias, nameof(timeStepBias), x, "(channels)", channels);
    }

    // checks (outer..., [G,] N) and gives G
    static long Grouped(Tensor tensor, string name, Tensor x, int dimensions, long stateSize, string meaning, params ReadOnlySpan<long> outer)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        bool grouped = tensor.dim() == dimensions + 1;
        long groups = grouped ? SequenceChecks.Groups(tensor.size(dimensions - 1), x.size(-1), name, "channels") : 1;
        SequenceChecks.Beside(tensor, name, x, meaning, grouped ? [.. outer, groups, stateSize] : [.. outer, stateSize]);
        return groups;
    }
}
