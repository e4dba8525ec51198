using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Stores the keys and values of all tokens of a row; slot j contains position j. The memory grows by half when it is full.</summary>
public sealed class KeyValueState : MixerState
{
    // on a GPU, decoding steps reserve memory for this number of tokens at a time: launches and their graphs depend on the memory
    const long StepSlots = 256;

    Tensor keys, values;

    /// <summary>Creates an empty state.</summary>
    /// <param name="batch">The number of rows.</param>
    /// <param name="keyValueHeads">The number of heads of keys and values.</param>
    /// <param name="headSize">The channels of a key.</param>
    /// <param name="valueHeadSize">The channels of a value.</param>
    /// <param name="compute">The type of activations.</param>
    /// <param name="device">The device.</param>
    public KeyValueState(long batch, int keyValueHeads, int headSize, int valueHeadSize, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        Require.AtLeast(keyValueHeads, 1, nameof(keyValueHeads));
        Require.AtLeast(headSize, 1, nameof(headSize));
        Require.AtLeast(valueHeadSize, 1, nameof(valueHeadSize));
        keys = zeros([batch, 0, keyValueHeads, headSize], compute, device).DetachFromDisposeScope();
        values = zeros([batch, 0, keyValueHeads, valueHeadSize], compute, device).DetachFromDisposeScope();
    }

    KeyValueState(Tensor keys, Tensor values) => (this.keys, this.values) = (keys, values);

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [keys, values];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new KeyValueState(Rows(keys, rows), Rows(values, rows));

    /// <inheritdoc/>
    public override MixerState Append(MixerState other)
    {
        var more = RequireSameKind(this, other);
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        ObjectDisposedException.ThrowIf(more.IsDisposed, more);
        return new KeyValueState(Joined(keys, more.keys), Joined(values, more.values));
    }

    /// <summary>Returns an empty snapshot: slots before the length of a row never change, and later slots are ignored.</summary>
    public override StateSnapshot Snapshot()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return new([]);
    }

    /// <inheritdoc/>
    public override void Rewind(StateSnapshot snapshot) { }

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Save(IReadOnlyList<long> lengths)
    {
        long slots = Slots(lengths);
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return [keys.narrow(1, 0, slots), values.narrow(1, 0, slots)];
    }

    /// <inheritdoc/>
    public override void Restore(IReadOnlyList<Tensor> saved, IReadOnlyList<long> lengths)
    {
        Require.Items(saved);
        long slots = Slots(lengths);
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (saved.Count != 2) throw Require.Unfit(nameof(saved), $"saved has {saved.Count} tensors", "2");
        RequireLike(saved[0], [keys.size(0), slots, keys.size(2), keys.size(3)], keys.dtype, 0);
        RequireLike(saved[1], [values.size(0), slots, values.size(2), values.size(3)], values.dtype, 1);
        Reserve(slots);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        keys.narrow(1, 0, slots).copy_(saved[0]);
        values.narrow(1, 0, slots).copy_(saved[1]);
    }

    /// <inheritdoc/>
    public override void Trim(long length)
    {
        Require.AtLeast(length, 0);
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (length >= keys.size(1)) return;
        keys = Trimmed(keys, length);
        values = Trimmed(values, length);
    }

    static long Slots(IReadOnlyList<long> lengths)
    {
        ArgumentNullException.ThrowIfNull(lengths);
        return lengths.DefaultIfEmpty(0).Max();
    }

    static Tensor Trimmed(Tensor old, long slots)
    {
        using var scope = NewDisposeScope();
        var trimmed = empty([old.size(0), slots, old.size(2), old.size(3)], old.dtype, old.device);
        trimmed.copy_(old.narrow(1, 0, slots));
        old.Dispose();
        return trimmed.DetachFromDisposeScope();
    }

    // rows with room for the longer of the two
    static Tensor Joined(Tensor first, Tensor second)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (first.dtype != second.dtype || first.size(2) != second.size(2) || first.size(3) != second.size(3))
            throw Require.Unfit("other", $"other holds {second.dtype} of {second.size(2)} heads of {second.size(3)}",
                $"{first.dtype} of {first.size(2)} heads of {first.size(3)}");
        var joined = zeros([first.size(0) + second.size(0), Math.Max(first.size(1), second.size(1)), first.size(2), first.size(3)], first.dtype,
            first.device);
        joined.narrow(0, 0, first.size(0)).narrow(1, 0, first.size(1)).copy_(first);
        joined.narrow(0, first.size(0), second.size(0)).narrow(1, 0, second.size(1)).copy_(second);
        return joined.DetachFromDisposeScope();
    }

    /// <summary>
    /// Appends the keys (batch, length, heads, headSize) and values of a pass, and returns all keys and values for attention as views, with their
    /// positions.
    /// </summary>
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
            // padding is written after the tokens of a row, where the next pass overwrites it; until then its slots are ignored
            var rows = Indices.Range(0, context.Batch, context.Device).unsqueeze(1);
            var slots = rows.mul(Scalars.From(keys.size(1))).add(context.PositionsPerRow(), Scalars.One).flatten();
            keys.flatten(0, 1).index_copy_(0, slots, newKeys.flatten(0, 1).contiguous());
            values.flatten(0, 1).index_copy_(0, slots, newValues.flatten(0, 1).contiguous());
        }
        return (keys.narrow(1, 0, context.TotalLength), values.narrow(1, 0, context.TotalLength), context.FullAttentionPositions());
    }

    /// <summary>
    /// Computes a decoding step: appends the new tokens and attends to all tokens of their rows. Only the reserved memory depends on numbers of the
    /// host.
    /// </summary>
    internal Tensor Step(Tensor query, Tensor key, Tensor value, AttentionSpec spec, SequenceContext context)
    {
        ReserveStep(context);
        var table = spec.Rotary is { } rotary ? context.StepTable(rotary, spec.HeadSize) : ((Tensor, Tensor)?)null;
        var turned = CacheAppend.Forward(query, key, value, new(table, context.StepLengths!, keys, values));
        return Attend(turned, spec, context);
    }

    void ReserveStep(SequenceContext context)
    {
        if (context.TotalLength <= keys.size(1)) return;
        Reserve(keys.device_type == TorchSharp.DeviceType.CPU ? context.TotalLength : (context.TotalLength + StepSlots - 1) / StepSlots * StepSlots);
    }

    /// <summary>Returns where a projection writes the new tokens of a step; null without rotary positions.</summary>
    internal CacheTarget? Target(AttentionSpec spec, SequenceContext context)
    {
        if (spec.Rotary is not { } rotary) return null;
        ReserveStep(context);
        return new(context.StepTable(rotary, spec.HeadSize), context.StepLengths!, keys, values);
    }

    /// <summary>Computes attention of a step whose tokens the cache contains.</summary>
    internal Tensor Attend(Tensor query, AttentionSpec spec, SequenceContext context) =>
        AttentionDecode.Forward(query, keys, values, context.StepLengths!, spec.Scale, workspace: context.StepWorkspace(spec.Heads));

    /// <summary>Does nothing: slots past the length of a row are ignored.</summary>
    internal override void Clear() { }

    internal override void Reserve(long length)
    {
        long capacity = keys.size(1);
        if (length <= capacity) return;
        keys = Grown(keys, Math.Max(length, capacity + capacity / 2));
        values = Grown(values, Math.Max(length, capacity + capacity / 2));
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
