using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements a linear recurrence with a separate decay for each channel and token: <c>h[t] = exp(decay[t]) h[t-1] + x[t]</c>. It is the scan of the
/// real-gated linear recurrent unit (arXiv 2402.19427, section 2.4).
/// </summary>
/// <remarks>
/// It is computed with libtorch's operators on any device, in about 2 sqrt(L) steps for rows of L tokens. Memory is linear in the length. Sums and
/// states are float32, also for bfloat16 activations.
/// Shapes: B rows, L tokens, D channels.
/// </remarks>
public static class LinearRecurrence
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.LinearRecurrenceBackend);

    /// <summary>
    /// Returns the back end that serves activations like <paramref name="x"/>: <see cref="KernelBackend.LibTorch"/> on any device, unless the
    /// reference is selected.
    /// </summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.ChooseComposed(Backend, x, nameof(LinearRecurrence));

    /// <summary>Processes complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="x">The input, shape (B, L, D), float32, bfloat16 or float64.</param>
    /// <param name="decay">The logarithm of the decay of each channel, shape (B, L, D), at most 0.</param>
    /// <param name="initialState">The initial state, shape (B, D), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <returns>
    /// The states after each token, shape (B, L, D), in the dtype of x, and the state after the last token of each row, shape (B, D), float32.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor decay, Tensor? initialState = null, SequenceLayout? layout = null)
    {
        var inputs = new LinearRecurrenceInputs(x, decay) { InitialState = initialState, Layout = layout };
        inputs.CheckRows();
        return BackendFor(x) == KernelBackend.Reference ? LinearRecurrenceReference.Forward(inputs) : ChunkedLinearRecurrence.Forward(inputs);
    }

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">The state, shape (B, D), float32. It is updated in place.</param>
    /// <param name="x">The input, shape (B, D).</param>
    /// <param name="decay">The logarithm of the decays, shape (B, D), at most 0.</param>
    /// <returns>The new state, shape (B, D), in the dtype of x.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor x, Tensor decay)
    {
        new LinearRecurrenceInputs(x, decay).CheckToken(state);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        state.mul_(decay.to(state.dtype).exp()).add_(x.to(state.dtype), Scalars.One);
        return state.to(x.dtype, copy: true).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Processes the few tokens of a pass, one after another, without a gradient. Outputs and state are those of <see cref="Step"/> for each token.
    /// </summary>
    /// <param name="state">The state, shape (B, D), float32. It is updated in place.</param>
    /// <param name="inputs">The inputs of whole rows, without an initial state and a layout.</param>
    /// <returns>The output, shape (B, L, D), and what returns rows to earlier tokens, which the caller disposes.</returns>
    internal static (Tensor Output, StateReplay Replay) Steps(Tensor state, LinearRecurrenceInputs inputs)
    {
        inputs.CheckRows();
        var (x, decay) = (inputs.X, inputs.Decay);
        SequenceChecks.StepState(state, nameof(state), x, "(batch, channels)", x.size(0), x.size(2));
        return ReferenceStep.Several(state, x.size(1), (token, before) =>
        {
            var written = x.select(1, token).to(state.dtype);
            var after = before.mul(decay.select(1, token).to(state.dtype).exp()).add_(written, Scalars.One);
            return (after.to(x.dtype).unsqueeze(1), after);
        });
    }
}
