using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Keys and values of all tokens a row has seen; slot j holds position j. Grows by half when full.</summary>
public sealed class KeyValueState : MixerState
{
    Tensor keys, values;

    /// <summary>An empty state.</summary>
    /// <param name="batch">Rows.</param>
    /// <param name="keyValueHeads">Heads of keys and values.</param>
    /// <param name="headSize">Channels of a key.</param>
    /// <param name="valueHeadSize">Channels of a value.</param>
    /// <param name="compute">The type of activations.</param>
    /// <param name="device">Where it lives.</param>
    public KeyValueState(long batch, int keyValueHeads, int headSize, int valueHeadSize, ScalarType compute, Device device)
    {
        keys = zeros([batch, 0, keyValueHeads, headSize], compute, device).DetachFromDisposeScope();
        values = zeros([batch, 0, keyValueHeads, valueHeadSize], compute, device).DetachFromDisposeScope();
    }

    KeyValueState(Tensor keys, Tensor values) => (this.keys, this.values) = (keys, values);

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [keys, values];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new KeyValueState(Rows(keys, rows), Rows(values, rows));

    /// <summary>Adds a pass's keys (batch, length, heads, headSize) and values, and gives all that attention is to see, as views, with their positions.</summary>
    internal (Tensor Keys, Tensor Values, AttentionPositions? Positions) Append(Tensor newKeys, Tensor newValues, SequenceContext context)
    {
        Reserve(context.PastLengths.Max() + context.Length);
        if (context.IsUniform)
        {
            long past = context.PastLengths[0];
            keys.narrow(1, past, context.Length).copy_(newKeys);
            values.narrow(1, past, context.Length).copy_(newValues);
        }
        else
        {
            // pads land beyond a row's real tokens, where the next pass overwrites them; until then their slots count as absent
            var rows = Indices.Range(0, context.Batch, context.Device).unsqueeze(1);
            var slots = rows.mul(Scalars.Of(keys.size(1))).add(context.PositionsPerRow(), Scalars.One).flatten();
            keys.flatten(0, 1).index_copy_(0, slots, newKeys.flatten(0, 1).contiguous());
            values.flatten(0, 1).index_copy_(0, slots, newValues.flatten(0, 1).contiguous());
        }
        return (keys.narrow(1, 0, context.TotalLength), values.narrow(1, 0, context.TotalLength), context.FullAttentionPositions());
    }

    void Reserve(long slots)
    {
        long capacity = keys.size(1);
        if (slots <= capacity) return;
        keys = Grown(keys, Math.Max(slots, capacity + capacity / 2));
        values = Grown(values, Math.Max(slots, capacity + capacity / 2));
    }

    static Tensor Grown(Tensor old, long slots)
    {
        using var scope = NewDisposeScope();
        var grown = zeros([old.size(0), slots, old.size(2), old.size(3)], old.dtype, old.device);
        grown.narrow(1, 0, old.size(1)).copy_(old);
        old.Dispose();
        return grown.DetachFromDisposeScope();
    }
}
