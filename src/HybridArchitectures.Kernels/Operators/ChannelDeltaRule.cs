using System.Numerics;
using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the gated delta rule with a separate decay for each key channel, as in Kimi delta attention (arXiv 2510.26692). Each head has a K x V
/// state: <c>S[t] = diag(exp(decay[t])) S[t-1] + strength[t] key[t] (value[t] - key[t]^T diag(exp(decay[t])) S[t-1])</c>,
/// <c>y[t] = S[t]^T query[t]</c>.
/// </summary>
/// <remarks>
/// It is computed chunk by chunk as matrix products with libtorch's operators on any device. Memory is linear in the length: a token needs a table of
/// chunk size x K numbers per head. Sums and states are float32, also for bfloat16 activations. Keys should have length 1 or less.
/// </remarks>
public static class ChannelDeltaRule
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.ChannelDeltaRuleBackend);

    /// <summary>
    /// Returns the back end that serves activations like <paramref name="value"/>: <see cref="KernelBackend.LibTorch"/> on any device, unless the
    /// reference is selected.
    /// </summary>
    public static KernelBackend BackendFor(Tensor value)
    {
        ArgumentNullException.ThrowIfNull(value);
        return Backend switch
        {
            KernelBackend.Auto or KernelBackend.LibTorch => KernelBackend.LibTorch,
            KernelBackend.Reference => KernelBackend.Reference,
            _ => throw Require.Unfit(nameof(value), $"the back end of ChannelDeltaRule is {Backend}", "Auto, LibTorch or Reference"),
        };
    }

    /// <summary>Processes complete rows. Differentiable in every tensor, including the final state.</summary>
    /// <param name="query">The queries, shape (B, L, G, K). H/G neighbouring heads share a group.</param>
    /// <param name="key">The keys, shape (B, L, G, K).</param>
    /// <param name="value">The values, shape (B, L, H, V), float32, bfloat16 or float64.</param>
    /// <param name="decay">The logarithm of the factors by which a token decays the rows of the state, shape (B, L, H, K), at most 0.</param>
    /// <param name="strength">The strength of the correction, shape (B, L, H), 0 to 2.</param>
    /// <param name="initialState">The initial state, shape (B, H, K, V), float32. The default, null, means zero.</param>
    /// <param name="layout">Padding and documents. The default, null, means full rows of one document.</param>
    /// <param name="chunkSize">
    /// The number of tokens per chunk, a power of two. It affects speed and memory, but not the result. The default is 16.
    /// </param>
    /// <returns>
    /// The output, shape (B, L, H, V), in the dtype of value, and the state after the last token of each row, shape (B, H, K, V), float32.
    /// </returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength, Tensor? initialState = null,
        SequenceLayout? layout = null, int chunkSize = 16)
    {
        SequenceChecks.Activations(value, nameof(value), "(batch, length, heads, value size)", 4);
        long batch = value.size(0), length = value.size(1), heads = value.size(2), valueSize = value.size(3);
        ArgumentNullException.ThrowIfNull(key);
        if (key.dim() != 4 || key.size(3) == 0)
            throw Require.Unfit(nameof(key), $"key has shape {Checks.Describe(key)}", "(batch, length, groups, key size)");
        long groups = SequenceChecks.Groups(key.size(2), heads, nameof(key), "heads"), keySize = key.size(3);
        SequenceChecks.Beside(key, nameof(key), value, "(batch, length, groups, key size)", batch, length, groups, keySize);
        SequenceChecks.Beside(query, nameof(query), value, "(batch, length, groups, key size)", batch, length, groups, keySize);
        SequenceChecks.Beside(decay, nameof(decay), value, "(batch, length, heads, key size)", batch, length, heads, keySize);
        SequenceChecks.Beside(strength, nameof(strength), value, "(batch, length, heads)", batch, length, heads);
        SequenceChecks.State(initialState, nameof(initialState), value, "(batch, heads, key size, value size)", batch, heads, keySize, valueSize);
        SequenceChecks.Layout(layout, value);
        if (chunkSize < 1 || !BitOperations.IsPow2(chunkSize))
            throw Require.OutOfRange(nameof(chunkSize), chunkSize, "a power of two");
        return BackendFor(value) == KernelBackend.Reference
            ? ChannelDeltaRuleReference.Forward(query, key, value, decay, strength, initialState, layout)
            : ChunkedChannelDeltaRule.Forward(query, key, value, decay, strength, initialState, layout, chunkSize);
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
        SequenceChecks.Activations(value, nameof(value), "(batch, heads, value size)", 3);
        long batch = value.size(0), heads = value.size(1), valueSize = value.size(2);
        ArgumentNullException.ThrowIfNull(key);
        if (key.dim() != 3 || key.size(2) == 0)
            throw Require.Unfit(nameof(key), $"key has shape {Checks.Describe(key)}", "(batch, groups, key size)");
        long groups = SequenceChecks.Groups(key.size(1), heads, nameof(key), "heads"), keySize = key.size(2);
        SequenceChecks.Beside(key, nameof(key), value, "(batch, groups, key size)", batch, groups, keySize);
        SequenceChecks.Beside(query, nameof(query), value, "(batch, groups, key size)", batch, groups, keySize);
        SequenceChecks.Beside(decay, nameof(decay), value, "(batch, heads, key size)", batch, heads, keySize);
        SequenceChecks.Beside(strength, nameof(strength), value, "(batch, heads)", batch, heads);
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), value, "(batch, heads, key size, value size)", batch, heads, keySize, valueSize);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var (output, after) = ChannelDeltaRuleReference.Forward(
            query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), decay.unsqueeze(1), strength.unsqueeze(1), state, null);
        state.copy_(after);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }
}
