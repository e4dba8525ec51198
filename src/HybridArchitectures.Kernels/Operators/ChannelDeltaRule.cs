using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Cuda.GatedDelta;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the gated delta rule with a separate decay for each key channel, as in Kimi delta attention (arXiv 2510.26692). Each head has a K x V
/// state: <c>S[t] = diag(exp(decay[t])) S[t-1] + strength[t] key[t] (value[t] - key[t]^T diag(exp(decay[t])) S[t-1])</c>,
/// <c>y[t] = S[t]^T query[t]</c>.
/// </summary>
/// <remarks>
/// It is computed chunk by chunk as matrix products, with memory linear in the length. Sums and states are float32, also for bfloat16 activations. On
/// CUDA, bfloat16 activations have separate kernels, which round the operands of products to bfloat16. Everything else uses libtorch's operators: a
/// token then needs a table of chunk size x K numbers per head. Keys should have length 1 or less.
/// Shapes: B rows, L tokens, H heads, G groups of heads that share queries and keys, K elements of a key, V elements of a value.
/// </remarks>
public static class ChannelDeltaRule
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.ChannelDeltaRuleBackend);

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
    /// multiples of 8 up to 128 that fit the shared memory of the GPU, and otherwise <see cref="KernelBackend.LibTorch"/>, unless another one is
    /// selected.
    /// </summary>
    /// <param name="key">The keys, shape (B, L, G, K).</param>
    /// <param name="value">The values, shape (B, L, H, V).</param>
    /// <exception cref="ArgumentException">The selected back end does not support the activations. The message says why.</exception>
    public static KernelBackend BackendFor(Tensor key, Tensor value)
    {
        Require.Alive(key);
        return GatedDeltaRule.Choose(Backend, key, value, GatedDeltaForm.ChannelDecays, nameof(ChannelDeltaRule));
    }

    /// <summary>Processes complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="query">The queries, shape (B, L, G, K). H/G neighbouring heads share a group.</param>
    /// <param name="key">The keys, shape (B, L, G, K).</param>
    /// <param name="value">The values, shape (B, L, H, V), float32, bfloat16 or float64.</param>
    /// <param name="decay">The logarithm of the decay of each row of the state, shape (B, L, H, K), at most 0.</param>
    /// <param name="strength">The strength of the correction, shape (B, L, H), 0 to 2.</param>
    /// <param name="initialState">The initial state, shape (B, H, K, V), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <param name="chunkSize">
    /// The number of tokens per chunk, a power of two. The default is 16. It affects speed and memory, but not the result. The CUDA kernels always
    /// use chunks of 64 tokens.
    /// </param>
    /// <returns>
    /// The output, shape (B, L, H, V), in the dtype of value, and the state after the last token of each row, shape (B, H, K, V), float32.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength, Tensor? initialState = null,
        SequenceLayout? layout = null, int chunkSize = 16)
    {
        return Compute(new DeltaRuleInputs(query, key, value, decay, strength)
        {
            InitialState = initialState, Layout = layout, ChunkSize = chunkSize, DecaysChannels = true,
        });
    }

    /// <inheritdoc cref="Forward"/>
    internal static (Tensor Output, Tensor FinalState) Compute(DeltaRuleInputs inputs)
    {
        inputs.CheckRows();
        return BackendFor(inputs.Key, inputs.Value) switch
        {
            KernelBackend.Cuda => GatedDeltaRuleCuda.Forward(inputs),
            KernelBackend.LibTorch => ChunkedChannelDeltaRule.Forward(inputs),
            _ => ChannelDeltaRuleReference.Forward(inputs),
        };
    }

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">The state, shape (B, H, K, V), float32. It is updated in place.</param>
    /// <param name="query">The queries, shape (B, G, K).</param>
    /// <param name="key">The keys, shape (B, G, K).</param>
    /// <param name="value">The values, shape (B, H, V).</param>
    /// <param name="decay">The logarithm of the decays, shape (B, H, K), at most 0.</param>
    /// <param name="strength">The strength of the correction, shape (B, H).</param>
    /// <returns>The output, shape (B, H, V), in the dtype of value.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength)
    {
        var inputs = new DeltaRuleInputs(query, key, value, decay, strength) { DecaysChannels = true };
        inputs.CheckToken(state);
        using var noGrad = no_grad();
        if (GatedDeltaRule.StepsOnCuda(Backend, key, value)) return GatedDeltaStepCuda.Step(state, inputs);
        return ReferenceStep.Run(state, () => ChannelDeltaRuleReference.Forward(inputs.AsRows(state)));
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
        return DeltaRuleSteps.Run(state, inputs, Backend, ChannelDeltaRuleReference.Forward);
    }
}
