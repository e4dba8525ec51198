using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
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

    /// <summary>Creates an empty state with a memory of two sizes per head.</summary>
    internal static LinearAttentionState Create(int batch, int heads, int rows, int columns, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new(zeros([batch, heads, rows, columns], SequenceChecks.StateType(compute), device));
    }

    /// <summary>
    /// Gets the sum of the decayed products of values and keys: (batch, heads, value head size, key head size) of lightning attention, (batch, heads,
    /// key head size, value head size) of gated linear attention. It is float32 (float64 with float64 activations); that of lightning attention can
    /// be bfloat16.
    /// </summary>
    public Tensor Memory { get; }

    /// <summary>Gets the memory as operators over whole rows read it: in float32 if it is bfloat16.</summary>
    internal Tensor WideMemory => StateChecks.Wide(Memory);

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [Memory];

    /// <summary>
    /// Computes gated linear attention of a pass, and leaves the new memory in <paramref name="state"/>: token by token for decoding steps, in chunks
    /// otherwise. The shapes are those of <see cref="LinearAttention.Forward"/>.
    /// </summary>
    internal static Tensor Mix(LinearAttentionState? state, Tensor queries, Tensor keys, Tensor values, Tensor decays, SequenceContext context,
        int chunkSize)
    {
        long length = queries.size(1);
        if (context.IsDecoding(state, length))
            return state.Decode(length, 0, () => LinearAttention.Step(state.Memory, queries.select(1, 0), keys.select(1, 0), values.select(1, 0),
                decays.select(1, 0)), () => LinearAttention.Steps(state.Memory, new(queries, keys, values, decays)));
        var (mixed, final) = LinearAttention.Forward(queries, keys, values, decays, state?.Memory, context.Layout, chunkSize);
        state?.Memory.copy_(final);
        return mixed;
    }

    internal override MixerState WithStateType(ScalarType type)
    {
        if (Memory.dtype == type) return this;
        using (Memory) return new LinearAttentionState(Memory.to(type));
    }

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new LinearAttentionState(Rows(Memory, rows));
}
