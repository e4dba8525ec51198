using System.Numerics;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// The gated delta rule (arXiv 2412.06464): per head a K x V state that forgets, and that a token corrects where its key already points,
/// <c>S[t] = exp(decay[t]) S[t-1] + strength[t] key[t] (value[t] - key[t]^T exp(decay[t]) S[t-1])</c>, <c>y[t] = S[t]^T query[t]</c>.
/// Computed chunk by chunk as matrix products (section 3.3 there), with memory linear in the length. Sums and states are float32, also for bfloat16 activations. Keys should have length 1 or less:
/// a longer one with a strength of 1 makes the state grow.
/// </summary>
public static class GatedDeltaRule
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The back end that serves activations like <paramref name="value"/>: <see cref="KernelBackend.LibTorch"/>, on any device, unless the reference is asked for.</summary>
    public static KernelBackend BackendFor(Tensor value)
    {
        ArgumentNullException.ThrowIfNull(value);
        return Backend switch
        {
            KernelBackend.Auto or KernelBackend.LibTorch => KernelBackend.LibTorch,
            KernelBackend.Reference => KernelBackend.Reference,
            _ => throw new ArgumentException($"{nameof(GatedDeltaRule)}.{nameof(Backend)} is {Backend}; expected Auto, LibTorch or Reference", nameof(value)),
        };
    }

    /// <summary>Runs over whole rows. Differentiable in every tensor, the final state included.</summary>
    /// <param name="query">(B, L, G, K): each H/G neighbouring heads share a group.</param>
    /// <param name="key">(B, L, G, K).</param>
    /// <param name="value">(B, L, H, V) float32, bfloat16 or float64.</param>
    /// <param name="decay">(B, L, H): logarithms of what a token leaves of the state before it, at most 0.</param>
    /// <param name="strength">(B, L, H): how far a token corrects the state, 0 to 1.</param>
    /// <param name="initialState">(B, H, K, V) float32; null for zero.</param>
    /// <param name="layout">Pads and documents; null for full rows of one document.</param>
    /// <param name="chunkSize">Tokens per chunk, a power of two; it changes speed and memory, not the result.</param>
    /// <returns>The output (B, L, H, V) in value's type, and the state (B, H, K, V) float32 after each row's last token.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
    public static (Tensor Output, Tensor FinalState) Forward(Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength, Tensor? initialState = null,
        SequenceLayout? layout = null, int chunkSize = 64)
    {
        SequenceChecks.Activations(value, nameof(value), "(batch, length, heads, value size)", 4);
        long batch = value.size(0), length = value.size(1), heads = value.size(2), valueSize = value.size(3);
        ArgumentNullException.ThrowIfNull(key);
        if (key.dim() != 4 || key.size(3) == 0) throw new ArgumentException($"key has shape {Checks.Describe(key)}; expected (batch, length, groups, key size)", nameof(key));
        long groups = SequenceChecks.Groups(key.size(2), heads, nameof(key), "heads"), keySize = key.size(3);
        SequenceChecks.Beside(key, nameof(key), value, "(batch, length, groups, key size)", batch, length, groups, keySize);
        SequenceChecks.Beside(query, nameof(query), value, "(batch, length, groups, key size)", batch, length, groups, keySize);
        SequenceChecks.Beside(decay, nameof(decay), value, "(batch, length, heads)", batch, length, heads);
        SequenceChecks.Beside(strength, nameof(strength), value, "(batch, length, heads)", batch, length, heads);
        SequenceChecks.State(initialState, nameof(initialState), value, "(batch, heads, key size, value size)", batch, heads, keySize, valueSize);
        SequenceChecks.Layout(layout, value);
        if (chunkSize < 1 || !BitOperations.IsPow2(chunkSize))
            throw new ArgumentOutOfRangeException(nameof(chunkSize), chunkSize, $"chunkSize is {chunkSize}; expected a power of two");
        return BackendFor(value) == KernelBackend.Reference
            ? GatedDeltaRuleReference.Forward(query, key, value, decay, strength, initialState, layout)
            : ChunkedGatedDeltaRule.Forward(query, key, value, decay, strength, initialState, layout, chunkSize);
    }

    /// <summary>One token, without gradient: the same as <see cref="Forward"/> over rows of one token.</summary>
    /// <param name="state">(B, H, K, V) float32, updated in place.</param>
    /// <param name="query">(B, G, K).</param>
    /// <param name="key">(B, G, K).</param>
    /// <param name="value">(B, H, V).</param>
    /// <param name="decay">(B, H), at most 0.</param>
    /// <param name="strength">(B, H).</param>
    /// <returns>The output (B, H, V) in value's type.</returns>
    /// <exception cref="ArgumentException">A shape, type or device does not fit; the message names the argument.</exception>
    public static Tensor Step(Tensor state, Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength)
    {
        SequenceChecks.Activations(value, nameof(value), "(batch, heads, value size)", 3);
        long batch = value.size(0), heads = value.size(1), valueSize = value.size(2);
        ArgumentNullException.ThrowIfNull(key);
        if (key.dim() != 3 || key.size(2) == 0) throw new ArgumentException($"key has shape {Checks.Describe(key)}; expected (batch, groups, key size)", nameof(key));
        long groups = SequenceChecks.Groups(key.size(1), heads, nameof(key), "heads"), keySize = key.size(2);
        SequenceChecks.Beside(key, nameof(key), value, "(batch, groups, key size)", batch, groups, keySize);
        SequenceChecks.Beside(query, nameof(query), value, "(batch, groups, key size)", batch, groups, keySize);
        SequenceChecks.Beside(decay, nameof(decay), value, "(batch, heads)", batch, heads);
        SequenceChecks.Beside(strength, nameof(strength), value, "(batch, heads)", batch, heads);
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), value, "(batch, heads, key size, value size)", batch, heads, keySize, valueSize);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var (output, after) = GatedDeltaRuleReference.Forward(query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), decay.unsqueeze(1), strength.unsqueeze(1), state, null);
        state.copy_(after);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }
}
