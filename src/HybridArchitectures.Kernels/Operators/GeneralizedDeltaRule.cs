using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the generalized delta rule of RWKV-7 (arXiv 2503.14456). What is removed from the state and what is added have separate keys,
/// and each key channel has a separate decay and a separate rate of removal. Each head has a K x V state:
/// <c>S[t] = (diag(exp(decay[t])) - (rate[t] * removal[t]) removal[t]^T) S[t-1] + key[t] value[t]^T</c>, <c>y[t] = S[t]^T query[t]</c>.
/// </summary>
/// <remarks>
/// It is computed chunk by chunk as matrix products with libtorch's operators on any device. Memory is linear in the length: a token needs three
/// tables of chunk size x K numbers per head, unless decays have a minimum. Sums and states are float32, also for bfloat16 activations. Removals
/// should have length 1 or less. Shapes: B rows, L tokens, H heads, K elements of a key, V elements of a value.
/// </remarks>
public static class GeneralizedDeltaRule
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.GeneralizedDeltaRuleBackend);

    /// <summary>
    /// Returns the back end that serves activations like <paramref name="value"/>: <see cref="KernelBackend.LibTorch"/> on any device, unless the
    /// reference is selected.
    /// </summary>
    public static KernelBackend BackendFor(Tensor value) => SequenceChecks.ChooseComposed(Backend, value, nameof(GeneralizedDeltaRule));

    /// <summary>Processes complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="query">The queries, which RWKV-7 calls receptance, shape (B, L, H, K).</param>
    /// <param name="key">The keys of what is added, shape (B, L, H, K).</param>
    /// <param name="value">The values, shape (B, L, H, V), float32, bfloat16 or float64.</param>
    /// <param name="decay">The logarithm of the decay of each row of the state, shape (B, L, H, K), at most 0.</param>
    /// <param name="removal">The keys of what is removed, shape (B, L, H, K).</param>
    /// <param name="rate">The rate of removal of each row of the state, shape (B, L, H, K), 0 to 1.</param>
    /// <param name="initialState">The initial state, shape (B, H, K, V), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <param name="chunkSize">
    /// The number of tokens per chunk, a power of two. It affects speed and memory, but not the result. The default is 16.
    /// </param>
    /// <param name="minDecay">
    /// A number at most 0 that no <paramref name="decay"/> is below, as -exp(-0.5) in RWKV-7. If its product with <paramref name="chunkSize"/> is at
    /// least -40, products of keys need no table. It is not checked: a decay far below it results in numbers that are not finite. The default, null,
    /// means that decays have no minimum.
    /// </param>
    /// <returns>
    /// The output, shape (B, L, H, V), in the dtype of value, and the state after the last token of each row, shape (B, H, K, V), float32.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor query, Tensor key, Tensor value, Tensor decay, Tensor removal, Tensor rate, Tensor? initialState = null,
        SequenceLayout? layout = null, int chunkSize = 16, double? minDecay = null)
    {
        Require.InRange(minDecay is null or (<= 0 and > double.NegativeInfinity), nameof(minDecay), minDecay, "a finite number at most 0, or null");
        var inputs = new GeneralizedDeltaInputs(query, key, value, decay, removal, rate)
        {
            InitialState = initialState, Layout = layout, ChunkSize = chunkSize, MinDecay = minDecay,
        };
        inputs.CheckRows();
        return BackendFor(value) == KernelBackend.Reference
            ? GeneralizedDeltaRuleReference.Forward(inputs) : ChunkedGeneralizedDeltaRule.Forward(inputs);
    }

    /// <summary>Processes one token without a gradient. The result equals that of <see cref="Forward"/> for rows of one token.</summary>
    /// <param name="state">The state, shape (B, H, K, V), float32. It is updated in place.</param>
    /// <param name="query">The queries, shape (B, H, K).</param>
    /// <param name="key">The keys of what is added, shape (B, H, K).</param>
    /// <param name="value">The values, shape (B, H, V).</param>
    /// <param name="decay">The logarithm of the decays, shape (B, H, K), at most 0.</param>
    /// <param name="removal">The keys of what is removed, shape (B, H, K).</param>
    /// <param name="rate">The rates of removal, shape (B, H, K), 0 to 1.</param>
    /// <returns>The output, shape (B, H, V), in the dtype of value.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor query, Tensor key, Tensor value, Tensor decay, Tensor removal, Tensor rate)
    {
        var inputs = new GeneralizedDeltaInputs(query, key, value, decay, removal, rate);
        inputs.CheckToken(state);
        return ReferenceStep.Run(state, () => GeneralizedDeltaRuleReference.Forward(inputs.AsRows(state)));
    }

    /// <summary>
    /// Processes the few tokens of a pass, one after another, without a gradient. Outputs and state are those of <see cref="Step"/> for each token.
    /// </summary>
    /// <param name="state">The state, shape (B, H, K, V), float32. It is updated in place.</param>
    /// <param name="inputs">The inputs of whole rows, without an initial state and a layout.</param>
    /// <returns>The output, shape (B, L, H, V), and what returns rows to earlier tokens, which the caller disposes.</returns>
    internal static (Tensor Output, StateReplay Replay) Steps(Tensor state, GeneralizedDeltaInputs inputs)
    {
        inputs.CheckRows();
        SequenceChecks.StepState(state, nameof(state), inputs.Value, "(batch, heads, key size, value size)", inputs.Batch, inputs.Heads,
            inputs.KeySize, inputs.ValueSize);
        return ReferenceStep.Several(state, inputs.Length, (token, before) =>
        {
            Tensor Token(Tensor tensor) => tensor.narrow(1, token, 1);
            return GeneralizedDeltaRuleReference.Forward(new(Token(inputs.Query), Token(inputs.Key), Token(inputs.Value), Token(inputs.Decay),
                Token(inputs.Removal), Token(inputs.Rate)) { InitialState = before });
        });
    }
}
