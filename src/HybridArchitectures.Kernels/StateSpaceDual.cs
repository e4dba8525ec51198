using System.Numerics;
using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// The state-space dual of Mamba-2 (arXiv 2405.21060): per head a recurrence over a P x N state with one decay per token,
/// <c>S[t] = exp(delta[t] a) S[t-1] + delta[t] x[t] b[t]^T</c>, <c>y[t] = S[t] c[t] + skip x[t]</c>,
/// computed chunk by chunk as matrix products (section 6 there), with memory linear in the length.
/// Sums and states are float32, also for bfloat16 activations. No exponential of a positive number is taken as long as <c>a</c> is negative,
/// so strong decay is as safe as weak.
/// </summary>
public static class StateSpaceDual
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>Whether a forward pass on CUDA that records gradients keeps the states between chunks, which spares the backward pass one of its walks; true unless set. They hold
    /// N / 64 times as much as x; more than 2 GB are never kept.</summary>
    public static bool KeepStates { get; set; } = true;

    /// <summary>The back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return Backend == KernelBackend.LibTorch ? KernelBackend.LibTorch : SequenceChecks.Choose(Backend, x, nameof(StateSpaceDual));
    }

    /// <summary>Runs over whole rows. Differentiable in every tensor, the final state included.</summary>
    /// <param name="x">(B, L, H, P) float32, bfloat16 or float64: H heads of size P.</param>
    /// <param name="timeStep">(B, L, H): the step sizes delta, before bias, softplus and limits.</param>
    /// <param name="a">(H) float32, negative for a state that decays.</param>
    /// <param name="b">(B, L, G, N): each H/G neighbouring heads share a group.</param>
    /// <param name="c">(B, L, G, N).</param>
    /// <param name="skip">(H): the weight of x in the output.</param>
    /// <param name="timeStepBias">(H), added to <paramref name="timeStep"/>.</param>
    /// <param name="softplus">Whether delta is the softplus of the biased step.</param>
    /// <param name="timeStepLimit">The range delta is held in, after the softplus; null for none.</param>
    /// <param name="initialState">(B, H, P, N) float32; null for zero.</param>
    /// <param name="layout">Pads and documents; null for full rows of one document.</param>
    /// <param name="chunkSize">Tokens per chunk, a power of two; it changes speed and memory, not the result. In main memory chunks hold 8 to 64
    /// tokens, on CUDA 16 to 64, whatever is asked for.</param>
    /// <returns>The output (B, L, H, P) in x's type, and the state (B, H, P, N) float32 after each row's last token.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip = null,
        Tensor? timeStepBias = null, bool softplus = false, (double Minimum, double Maximum)? timeStepLimit = null, Tensor? initialState = null,
        SequenceLayout? layout = null, int chunkSize = 64)
    {
        SequenceChecks.Activations(x, nameof(x), "(batch, length, heads, head size)", 4);
        long batch = x.size(0), length = x.size(1), heads = x.size(2), headSize = x.size(3);
        SequenceChecks.Beside(timeStep, nameof(timeStep), x, "(batch, length, heads)", batch, length, heads);
        Parameters(x, heads, a, skip, timeStepBias, timeStepLimit);
        ArgumentNullException.ThrowIfNull(b);
        if (b.dim() != 4 || b.size(3) == 0) throw new ArgumentException($"b has shape {Checks.Describe(b)}; expected (batch, length, groups, states)",
            nameof(b));
        long groups = SequenceChecks.Groups(b.size(2), heads, nameof(b), "heads"), stateSize = b.size(3);
        SequenceChecks.Beside(b, nameof(b), x, "(batch, length, groups, states)", batch, length, groups, stateSize);
        SequenceChecks.Beside(c, nameof(c), x, "(batch, length, groups, states)", batch, length, groups, stateSize);
        SequenceChecks.State(initialState, nameof(initialState), x, "(batch, heads, head size, states)", batch, heads, headSize, stateSize);
        SequenceChecks.Layout(layout, x);
        if (chunkSize < 1 || !BitOperations.IsPow2(chunkSize))
            throw new ArgumentOutOfRangeException(nameof(chunkSize), chunkSize, $"chunkSize is {chunkSize}; expected a power of two");
        return BackendFor(x) switch
        {
            KernelBackend.Cpu => StateSpaceDualCpu.Forward(x, timeStep, a, b, c, skip, timeStepBias, softplus, timeStepLimit, initialState, layout, chunkSize),
            KernelBackend.Cuda => StateSpaceDualCuda.Forward(x, timeStep, a, b, c, skip, timeStepBias, softplus, timeStepLimit, initialState, layout),
            KernelBackend.LibTorch => ChunkedStateSpaceDual.Forward(x, timeStep, a, b, c, skip, timeStepBias, softplus, timeStepLimit, initialState, layout, chunkSize),
            _ => StateSpaceDualReference.Forward(x, timeStep, a, b, c, skip, timeStepBias, softplus, timeStepLimit, initialState, layout),
        };
    }

    /// <summary>One token, without gradient: the same as <see cref="Forward"/> over rows of one token.</summary>
    /// <param name="state">(B, H, P, N) float32, updated in place.</param>
    /// <param name="x">(B, H, P).</param>
    /// <param name="timeStep">(B, H).</param>
    /// <param name="a">(H) float32.</param>
    /// <param name="b">(B, G, N).</param>
    /// <param name="c">(B, G, N).</param>
    /// <param name="skip">(H).</param>
    /// <param name="timeStepBias">(H).</param>
    /// <param name="softplus">Whether delta is the softplus of the biased step.</param>
    /// <param name="timeStepLimit">The range delta is held in; null for none.</param>
    /// <param name="slots">(B) int64: the states lie in a larger tensor (slots, ...), and sequence i's at slots[i], each at most once; -1 marks a row that is padding, whose output
    /// is 0 and which touches no state. Null where sequence i has state i.</param>
    /// <returns>The output (B, H, P) in x's type.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip = null, Tensor? timeStepBias = null,
        bool softplus = false, (double Minimum, double Maximum)? timeStepLimit = null, Tensor? slots = null)
    {
        SequenceChecks.Activations(x, nameof(x), "(batch, heads, head size)", 3);
        long batch = x.size(0), heads = x.size(1), headSize = x.size(2);
        SequenceChecks.Beside(timeStep, nameof(timeStep), x, "(batch, heads)", batch, heads);
        Parameters(x, heads, a, skip, timeStepBias, timeStepLimit);
        ArgumentNullException.ThrowIfNull(b);
        if (b.dim() != 3 || b.size(2) == 0) throw new ArgumentException($"b has shape {Checks.Describe(b)}; expected (batch, groups, states)", nameof(b));
        long groups = SequenceChecks.Groups(b.size(1), heads, nameof(b), "heads"), stateSize = b.size(2);
        SequenceChecks.Beside(b, nameof(b), x, "(batch, groups, states)", batch, groups, stateSize);
        SequenceChecks.Beside(c, nameof(c), x, "(batch, groups, states)", batch, groups, stateSize);
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), x, slots is null ? "(batch, heads, head size, states)" : "(slots, heads, head size, states)", SlotRows.StateRows(state, slots, x), heads,
            headSize, stateSize);
        using var noGrad = no_grad();
        var backend = Backend == KernelBackend.LibTorch ? KernelBackend.Reference : SequenceChecks.Choose(Backend, x, nameof(StateSpaceDual));
        if (slots is not null && backend != KernelBackend.Cuda)
            return SlotRows.Step(state, slots, x, (states, rows) => Step(states, x.index_select(0, rows), timeStep.index_select(0, rows), a, b.index_select(0, rows),
                c.index_select(0, rows), skip, timeStepBias, softplus, timeStepLimit));
        if (backend == KernelBackend.Cpu) return StateSpaceDualCpu.Step(state, x, timeStep, a, b, c, skip, timeStepBias, softplus, timeStepLimit);
        if (backend == KernelBackend.Cuda) return StateUpdateCuda.Step(state, x, timeStep, a, b, c, skip, null, timeStepBias, softplus, timeStepLimit, slots);
        using var scope = NewDisposeScope();
        var (output, after) = StateSpaceDualReference.Forward(x.unsqueeze(1), timeStep.unsqueeze(1), a, b.unsqueeze(1), c.unsqueeze(1), skip, timeStepBias,
            softplus, timeStepLimit, state, null);
        state.copy_(after);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }

    static void Parameters(Tensor x, long heads, Tensor a, Tensor? skip, Tensor? timeStepBias, (double Minimum, double Maximum)? limit)
    {
        ArgumentNullException.ThrowIfNull(a);
        SequenceChecks.State(a, nameof(a), x, "(heads)", heads);
        if (skip is not null) SequenceChecks.Beside(skip, nameof(skip), x, "(heads)", heads);
        if (timeStepBias is not null) SequenceChecks.Beside(timeStepBias, nameof(timeStepBias), x, "(heads)", heads);
        if (limit is { } range && !(range.Minimum >= 0 && range.Minimum <= range.Maximum))
            throw new ArgumentOutOfRangeException("timeStepLimit", limit, $"timeStepLimit is {range}; expected 0 <= minimum <= maximum");
    }
}
