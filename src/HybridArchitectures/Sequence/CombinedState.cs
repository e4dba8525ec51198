using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Combines the states of attention and of a state-space mixer in one block: the branches of an intra-layer hybrid, or a shared transformer and the
/// mixer after it.
/// </summary>
public sealed class CombinedState(MixerState attention, MixerState stateSpace) : MixerState
{
    /// <summary>Gets the state of attention.</summary>
    public MixerState Attention { get; } = attention ?? throw new ArgumentNullException(nameof(attention));

    /// <summary>Gets the state of the state-space mixer.</summary>
    public MixerState StateSpace { get; } = stateSpace ?? throw new ArgumentNullException(nameof(stateSpace));

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [.. Attention.Tensors, .. StateSpace.Tensors];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new CombinedState(Attention.Select(rows), StateSpace.Select(rows));

    /// <inheritdoc/>
    public override MixerState Append(MixerState other)
    {
        var more = RequireSameKind(this, other);
        var joined = Attention.Append(more.Attention);
        try
        {
            return new CombinedState(joined, StateSpace.Append(more.StateSpace));
        }
        catch
        {
            joined.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override StateSnapshot Snapshot() => new([], Attention.Snapshot(), StateSpace.Snapshot());

    /// <inheritdoc/>
    public override void Rewind(StateSnapshot snapshot)
    {
        if (snapshot is not { Parts: [var first, var second] })
            throw Require.Unfit(nameof(snapshot), $"snapshot is a {snapshot?.GetType().Name ?? "null"}", $"a snapshot of a {nameof(CombinedState)}");
        Attention.Rewind(first);
        StateSpace.Rewind(second);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Save(IReadOnlyList<long> lengths) => [.. Attention.Save(lengths), .. StateSpace.Save(lengths)];

    /// <inheritdoc/>
    public override void Restore(IReadOnlyList<Tensor> saved, IReadOnlyList<long> lengths)
    {
        Require.Items(saved);
        int own = Attention.Tensors.Count;
        Attention.Restore([.. saved.Take(own)], lengths);
        StateSpace.Restore([.. saved.Skip(own)], lengths);
    }

    /// <inheritdoc/>
    public override void Trim(long length)
    {
        Attention.Trim(length);
        StateSpace.Trim(length);
    }

    internal override void Clear()
    {
        Attention.Clear();
        StateSpace.Clear();
    }

    internal override IEnumerable<MixerState> Parts => [.. Attention.Parts, .. StateSpace.Parts];

    internal override void Reserve(long length)
    {
        Attention.Reserve(length);
        StateSpace.Reserve(length);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        Attention.Dispose();
        StateSpace.Dispose();
        base.Dispose();
    }
}
