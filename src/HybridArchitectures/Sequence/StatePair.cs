using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Joins two states into one.</summary>
public abstract class StatePair : MixerState
{
    readonly MixerState first, second;

    private protected StatePair(MixerState first, MixerState second) => (this.first, this.second) = (first, second);

    /// <summary>Creates a pair of the same kind from other states.</summary>
    private protected abstract MixerState Create(MixerState first, MixerState second);

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [.. first.Tensors, .. second.Tensors];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => Create(first.Select(rows), second.Select(rows));

    /// <inheritdoc/>
    public override MixerState Append(MixerState other)
    {
        var more = RequireSameKind(this, other);
        var joined = first.Append(more.first);
        try
        {
            return Create(joined, second.Append(more.second));
        }
        catch
        {
            joined.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override StateSnapshot Snapshot() => new([], first.Snapshot(), second.Snapshot());

    /// <inheritdoc/>
    public override void Rewind(StateSnapshot snapshot)
    {
        if (snapshot is not { Parts: [var one, var two] })
            throw Require.Unfit(nameof(snapshot), $"snapshot is a {snapshot?.GetType().Name ?? "null"}", $"a snapshot of a {GetType().Name}");
        first.Rewind(one);
        second.Rewind(two);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Save(IReadOnlyList<long> lengths) => [.. first.Save(lengths), .. second.Save(lengths)];

    /// <inheritdoc/>
    public override void Restore(IReadOnlyList<Tensor> saved, IReadOnlyList<long> lengths)
    {
        Require.Items(saved);
        int own = first.Tensors.Count;
        first.Restore([.. saved.Take(own)], lengths);
        second.Restore([.. saved.Skip(own)], lengths);
    }

    /// <inheritdoc/>
    public override void Trim(long length)
    {
        first.Trim(length);
        second.Trim(length);
    }

    internal override void Clear()
    {
        first.Clear();
        second.Clear();
    }

    internal override MixerState WithStateType(ScalarType type) => Create(first.WithStateType(type), second.WithStateType(type));

    internal override IEnumerable<MixerState> Parts => [.. first.Parts, .. second.Parts];

    internal override void Reserve(long length)
    {
        first.Reserve(length);
        second.Reserve(length);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        first.Dispose();
        second.Dispose();
        base.Dispose();
    }
}
