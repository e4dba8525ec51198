using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Represents the state of linear attention. Its size does not grow with the length.</summary>
public sealed class LinearAttentionState : MixerState
{
    /// <summary>Creates an empty state.</summary>
    /// <param name="memory">Zeros of the shape of <see cref="Memory"/>, float32 (float64 with float64 activations).</param>
    public LinearAttentionState(Tensor memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        Memory = memory.DetachFromDisposeScope();
    }

    /// <summary>
    /// Gets the sum of the decayed products of values and keys: (batch, heads, value head size, key head size) of lightning attention, (batch, heads,
    /// key head size, value head size) of gated linear attention.
    /// </summary>
    public Tensor Memory { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [Memory];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new LinearAttentionState(Rows(Memory, rows));
}
