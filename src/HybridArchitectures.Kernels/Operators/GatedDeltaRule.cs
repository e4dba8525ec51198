using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Cuda.GatedDelta;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the gated delta rule (arXiv 2412.06464). Each head has a K x V state that decays, and that a token corrects where its key points:
/// <c>S[t] = exp(decay[t]) S[t-1] + strength[t] key[t] (value[t] - key[t]^T exp(decay[t]) S[t-1])</c>, <c>y[t] = S[t]^T query[t]</c>.
/// </summary>
/// <remarks>
/// It is computed chunk by chunk as matrix products (section 3.3 of the paper), with memory linear in the length. Sums and states are float32, also
/// for bfloat16 activations. On CUDA, bfloat16 activations have separate kernels, which round the operands of products to bfloat16. Keys should have
/// length 1 or less: with a longer key and a strength of 1, or a key of length 1 and a strength above 2, the state grows.
/// Shapes: B rows, L tokens, H heads, G groups of heads that share queries and keys, K elements of a key, V elements of a value.
/// </remarks>
public static class GatedDeltaRule
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.GatedDeltaRuleBackend);

    /// <summary>
    /// Returns the back end that serves activations like <paramref name="value"/> with keys of the same head size. See
    /// <see cref="BackendFor(Tensor, Tensor)"/>.
    /// </summary>
    public static KernelBackend BackendFor(Tensor value)
    {
        Require.Alive(value);
        return BackendFor(value, value);
    }

    /// <summary>
    /// Returns the back end that serves these activations: <see cref="KernelBackend.Cuda"/> for bfloat16 on a CUDA device if both head sizes are
    /// multiples of 8 up to 128, and otherwise <see cref="KernelBackend.LibTorch"/>, unless another one is selected.
    /// </summary>
    /// <param name="key">The keys, shape (B, L, G, K).</param>
    /// <param name="value">The values, shape (B, L, H, V).</param>
    /// <exception cref="ArgumentException">The selected back end does not support the activations. The message says why.</exception>
    public static KernelBackend BackendFor(Tensor key, Tensor value)
    {
        Require.Alive(key);
        return Choose(Backend, key, value, GatedDeltaForm.HeadDecays, nameof(GatedDeltaRule));
    }

    /// <summary>Returns the back end for these activations, given the selected one.</summary>
    /// <param name="asked">The selected back end.</param>
    /// <param name="key">The keys, shape (B, L, G, K).</param>
    /// <param name="value">The values, shape (B, L, H, V).</param>
    /// <param name="form">Which recurrence the kernels compute.</param>
    /// <param name="op">The name of the operator in exceptions.</param>
    internal static KernelBackend Choose(KernelBackend asked, Tensor key, Tensor value, GatedDeltaForm form, string op)
    {
        SequenceChecks.Activations(value, nameof(value), "(batch, length, heads, value size)", 4);
        switch (asked)
        {
            case KernelBackend.Auto:
                return value.device_type == TorchSharp.DeviceType.CUDA && GatedDeltaRuleCuda.Refusal(key, value, form) is null
                    ? KernelBackend.Cuda : KernelBackend.LibTorch;
            case KernelBackend.Cuda:
                if (GatedDeltaRuleCuda.Refusal(key, value, form) is { } refusal)
                    throw Require.Unfit(nameof(value), refusal.Found, refusal.Expected);
                return KernelBackend.Cuda;
            case KernelBackend.LibTorch or KernelBackend.Reference:
                return asked;
            default:
                throw Require.Unfit(nameof(value), $"the back end of {op} is {asked}", "Auto, Cuda, LibTorch or Reference");
        }
    }

    /// <summary>Returns whether the CUDA kernel computes a step, given the selected back end.</summary>
    internal static bool StepsOnCuda(KernelBackend asked, Tensor key, Tensor value) =>
        asked is KernelBackend.Auto or KernelBackend.Cuda
            && (value.device_type == TorchSharp.DeviceType.CUDA || (asked == KernelBackend.Cuda && CudaRuntime.Emulated))
            && GatedDeltaStepCuda.Supports(key, value);

    /// <summary>Returns whether steps can compute their inputs from projections (<see cref="DeltaRuleInputs.Projected"/>).</summary>
    internal static bool StepsFromProjections(Tensor key, Tensor value) => StepsOnCuda(Backend, key, value);

    /// <summary>Processes complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="query">The queries, shape (B, L, G, K). H/G neighbouring heads share a group.</param>
    /// <param name="key">The keys, shape (B, L, G, K).</param>
    /// <param name="value">The values, shape (B, L, H, V), float32, bfloat16 or float64.</param>
    /// <param name="decay">The logarithm of the decay of the state before a token, shape (B, L, H), at most 0.</param>
    /// <param name="strength">The strength of the correction, shape (B, L, H), 0 to 2.</param>
    /// <param name="initialState">The initial state, shape (B, H, K, V), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <param name="chunkSize">
    /// The number of tokens per chunk, a power of two. The default is 64. It affects speed and memory, but not the result. The CUDA kernels always
    /// use chunks of 64 tokens.
    /// </param>
    /// <returns>
    /// The output, shape (B, L, H, V), in the dtype of value, and the state after the last token of each row, shape (B, H, K, V), float32.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength, Tensor? initialState = null,
        SequenceLayout? layout = null, int chunkSize = 64)
    {
        return Compute(new DeltaRuleInputs(query, key, value, decay, strength)
        {
            InitialState = initialState, Layout = layout, ChunkSize = chunkSize,
        });
    }

    /// <inheritdoc cref="Forward"/>
    internal static (Tensor Output, Tensor FinalState) Compute(DeltaRuleInputs inputs)
    {
        inputs.CheckRows();
        return BackendFor(inputs.Key, inputs.Value) switch
        {
            KernelBackend.Cuda => GatedDeltaRuleCuda.Forward(inputs),
            KernelBackend.LibTorch => ChunkedGatedDeltaRule.Forward(inputs),
            _ => GatedDeltaRuleReference.Forward(inputs),
        };
    }

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">The state, shape (B, H, K, V), float32. It is updated in place.</param>
    /// <param name="query">The queries, shape (B, G, K).</param>
    /// <param name="key">The keys, shape (B, G, K).</param>
    /// <param name="value">The values, shape (B, H, V).</param>
    /// <param name="decay">The logarithm of the decay, shape (B, H), at most 0.</param>
    /// <param name="strength">The strength of the correction, shape (B, H).</param>
    /// <returns>The output, shape (B, H, V), in the dtype of value.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength)
    {
        return ComputeStep(state, new(query, key, value, decay, strength));
    }

    /// <inheritdoc cref="Step"/>
    internal static Tensor ComputeStep(Tensor state, DeltaRuleInputs inputs)
    {
        inputs.CheckToken(state);
        using var noGrad = no_grad();
        if (StepsOnCuda(Backend, inputs.Key, inputs.Value)) return GatedDeltaStepCuda.Step(state, inputs);
        return ReferenceStep.Run(state, () => GatedDeltaRuleReference.Forward(inputs.AsRows(state)));
    }

    /// <summary>
    /// Processes the few tokens of a pass, one after another, without a gradient. Outputs and state are those of <see cref="Step"/> for each token.
    /// </summary>
    /// <param name="state">The state, shape (B, H, K, V), float32. It is updated in place.</param>
    /// <param name="inputs">The inputs of whole rows, without an initial state and a layout.</param>
    /// <returns>The output, shape (B, L, H, V), and what returns rows to earlier tokens, which the caller disposes.</returns>
    internal static (Tensor Output, StateReplay Replay) Steps(Tensor state, DeltaRuleInputs inputs)
    {
        inputs.CheckRows();
        return DeltaRuleSteps.Run(state, inputs, Backend, GatedDeltaRuleReference.Forward);
    }
}
