using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Stores the keys and values of a sliding window and its sinks. Position p is in slot p if it is a sink, and otherwise in slot sinks + (p - sinks)
/// mod window, so that memory does not grow with the length.
/// </summary>
public sealed class WindowState : MixerState
{
    readonly int window, sinks;
    readonly Tensor keys, values, positions;       // (batch, slots + 1, ...): the last slot receives unneeded values; positions are -1 in empty slots

    /// <summary>Creates an empty state; parameters as in <see cref="KeyValueState"/>.</summary>
    public WindowState(long batch, int window, int sinks, int keyValueHeads, int headSize, int valueHeadSize, ScalarType compute, Device device)
        : this(window, sinks,
            zeros([Rows(batch, window, sinks, keyValueHeads, headSize, valueHeadSize, compute, device), window + sinks + 1, keyValueHeads, headSize],
            compute, device).DetachFromDisposeScope(),
            zeros([batch, window + sinks + 1, keyValueHeads, valueHeadSize], compute, device).DetachFromDisposeScope(),
            full([batch, window + sinks + 1], Scalars.MinusOne, ScalarType.Int64, device).DetachFromDisposeScope()) { }

    // the rows, after everything else has been checked
    static long Rows(long batch, int window, int sinks, int keyValueHeads, int headSize, int valueHeadSize, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        Require.AtLeast(window, 1, nameof(window));
        Require.AtLeast(sinks, 0);
        Require.InRange(window < int.MaxValue - sinks, nameof(window), window, $"less than {int.MaxValue - sinks}, with {sinks} sinks");
        Require.AtLeast(keyValueHeads, 1, nameof(keyValueHeads));
        Require.AtLeast(headSize, 1, nameof(headSize));
        Require.AtLeast(valueHeadSize, 1, nameof(valueHeadSize));
        return batch;
    }

    WindowState(int window, int sinks, Tensor keys, Tensor values, Tensor positions) =>
        (this.window, this.sinks, this.keys, this.values, this.positions) = (window, sinks, keys, values, positions);

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [keys, values, positions];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new WindowState(window, sinks, Rows(keys, rows), Rows(values, rows), Rows(positions, rows));

    internal override void Clear()
    {
        base.Clear();
        positions.fill_(Scalars.MinusOne);
    }

    /// <summary>
    /// Appends the keys (batch, length, heads, headSize) and values of a pass, and returns those that attention can see, with their positions.
    /// </summary>
    internal (Tensor Keys, Tensor Values, AttentionPositions Positions) Append(Tensor newKeys, Tensor newValues, SequenceContext context)
    {
        int slots = window + sinks;
        var queries = context.PositionsPerRow();
        var newPositions = context.Layout?.Valid is { } valid ? queries.masked_fill(valid.logical_not(), Scalars.MinusOne) : queries;
        if (context.Length == 1)
        {
            // the overwritten slot contained the position that has just left the window
            Write(newKeys, newValues, newPositions, context);
            return (keys.narrow(1, 0, slots), values.narrow(1, 0, slots), new AttentionPositions(queries, positions.narrow(1, 0, slots)));
        }
        var allKeys = cat([keys.narrow(1, 0, slots), newKeys], 1);
        var allValues = cat([values.narrow(1, 0, slots), newValues], 1);
        var allPositions = cat([positions.narrow(1, 0, slots), newPositions], 1);
        Write(newKeys, newValues, newPositions, context);
        return (allKeys, allValues, new AttentionPositions(queries, allPositions));
    }

    /// <summary>Computes a decoding step: appends the new tokens of each row, one after another, and attends to the window and the sinks.</summary>
    internal Tensor Step(Tensor query, Tensor key, Tensor value, AttentionSpec spec, SequenceContext context)
    {
        int slots = window + sinks;
        var (ownKeys, ownValues, own) = (keys.narrow(1, 0, slots), values.narrow(1, 0, slots), positions.narrow(1, 0, slots));
        var table = spec.Rotary is { } rotary ? context.StepTable(rotary, spec.HeadSize) : ((Tensor, Tensor)?)null;
        var attended = new Tensor[context.Length];
        // a token of a short pass overwrites a slot that no other token of the pass overwrites
        bool isShort = attended.Length <= window;
        if (attended.Length > 1 && isShort) RememberSlots(context.StepLengths!, attended.Length);
        var states = Tensors.Select(_ => new Tensor[attended.Length - 1]).ToArray();
        for (int token = 0; token < attended.Length; token++)
        {
            // an earlier token may still see the slot of a later one: one after another
            int after = attended.Length - 1 - token;
            var lengths = after == 0 ? context.StepLengths! : context.StepLengths!.sub(Scalars.From((long)after));
            Tensor One(Tensor all) => attended.Length == 1 ? all : all.narrow(1, token, 1);
            var turned = CacheAppend.Forward(One(query), One(key), One(value),
                new(table, lengths, ownKeys, ownValues, own, window, sinks));
            attended[token] = AttentionDecode.Forward(turned, ownKeys, ownValues, lengths, spec.Scale, window, sinks, ring: true,
                workspace: context.StepWorkspace(spec.Heads));
            if (isShort || after == 0) continue;
            for (int index = 0; index < states.Length; index++) states[index][token] = Tensors[index].clone();
        }
        if (!isShort)
            for (int index = 0; index < states.Length; index++) Remember(index, StateReplay.FromStates(states[index]));
        return attended.Length == 1 ? attended[0] : cat(attended, 1);
    }

    // Saves what the slots of the tokens of a pass contain before it. Tokens that are removed give their slots back.
    void RememberSlots(Tensor lengths, long length)
    {
        long slots = window + sinks;
        var tokens = Indices.Range(0, length, lengths.device);
        var places = lengths.to(ScalarType.Int64).sub(Scalars.From(length)).unsqueeze(1).add(tokens, Scalars.One);             // (B, L)
        var ring = places.sub(Scalars.From(sinks)).remainder(Scalars.From(window)).add(Scalars.From(sinks), Scalars.One);
        var first = Indices.Range(0, lengths.size(0), lengths.device).mul(Scalars.From(slots + 1)).unsqueeze(1);
        var slot = first.add(where(places.lt(Scalars.From(sinks)), places, ring), Scalars.One);
        foreach (var (state, index) in Tensors.Select((state, index) => (state, index)))
        {
            Tensor own = slot.alias(), spare = first.add(Scalars.From(slots), Scalars.One), all = tokens.alias();
            var saved = state.flatten(0, 1).index_select(0, slot.flatten());
            Remember(index, new([saved, own, spare, all], [], (target, counts) => target.flatten(0, 1).index_copy_(0,
                where(all.ge(counts.unsqueeze(1)), own, spare).flatten(), saved)) { RunsOnDevice = true });
        }
    }

    /// <summary>Returns where a projection writes the new token of a step; null without rotary positions or with several tokens.</summary>
    internal CacheTarget? Target(AttentionSpec spec, SequenceContext context)
    {
        if (spec.Rotary is not { } rotary || context.Length != 1) return null;
        int slots = window + sinks;
        return new(context.StepTable(rotary, spec.HeadSize), context.StepLengths!, keys.narrow(1, 0, slots), values.narrow(1, 0, slots),
            positions.narrow(1, 0, slots), window, sinks);
    }

    /// <summary>Computes attention of a step whose token the cache contains.</summary>
    internal Tensor Attend(Tensor query, AttentionSpec spec, SequenceContext context) =>
        AttentionDecode.Forward(query, keys.narrow(1, 0, window + sinks), values.narrow(1, 0, window + sinks), context.StepLengths!, spec.Scale,
            window, sinks, ring: true, workspace: context.StepWorkspace(spec.Heads));

    void Write(Tensor newKeys, Tensor newValues, Tensor newPositions, SequenceContext context)
    {
        int slots = window + sinks;
        var totals = context.RowTotals();
        var isSink = newPositions.lt(Scalars.From(sinks));
        // each slot is written once: by a sink, or by one of the last `window` tokens of the row; everything else, including padding, goes to the
        // spare slot
        var kept = newPositions.ge(Scalars.Zero).logical_and(isSink.logical_or(newPositions.ge(totals.sub(Scalars.From(window)))));
        var slot = where(isSink, newPositions,
            newPositions.sub(Scalars.From(sinks)).remainder(Scalars.From(window)).add(Scalars.From(sinks), Scalars.One));
        slot = slot.masked_fill(kept.logical_not(), Scalars.From(slots));
        var rows = Indices.Range(0, context.Batch, context.Device).unsqueeze(1);
        var index = (rows.mul(Scalars.From(slots + 1)).add(slot, Scalars.One)).flatten();
        keys.flatten(0, 1).index_copy_(0, index, newKeys.flatten(0, 1).contiguous());
        values.flatten(0, 1).index_copy_(0, index, newValues.flatten(0, 1).contiguous());
        positions.flatten().index_copy_(0, index, newPositions.flatten().contiguous());
    }
}
