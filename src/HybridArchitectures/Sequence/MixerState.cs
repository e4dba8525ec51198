using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Represents what one mixer remembers of earlier tokens: keys and values, convolution inputs, a state-space state, or several of these. A state
/// whose tensors keep their shape overrides only <see cref="Tensors"/> and <see cref="Select"/>; one that grows also overrides the other members. The
/// library detaches the tensors of a state from every dispose scope after <see cref="Modules.Mixer.CreateState"/>,
/// <see cref="Modules.Mixer.Forward"/> and the methods here, so that a state can contain plain tensors.
/// </summary>
public abstract class MixerState : IDisposable
{
    TokenCopies? copies;            // of the last stepwise pass

    /// <summary>Gets the tensors of the state, batch first. The state owns them, and they change with each pass.</summary>
    public abstract IReadOnlyList<Tensor> Tensors { get; }

    /// <summary>Returns a copy of rows, in the given order. Rows can occur several times.</summary>
    public abstract MixerState Select(Tensor rows);

    /// <summary>Gets the size in bytes.</summary>
    public virtual long Bytes => LiveTensors.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize);

    /// <summary>Returns a new state with the rows of this state, at least one, followed by those of another.</summary>
    /// <param name="other">A state of the same mixer.</param>
    /// <exception cref="ArgumentException">The states do not belong to the same mixer.</exception>
    public virtual MixerState Append(MixerState other)
    {
        RequireSameKind(other);
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        ObjectDisposedException.ThrowIf(other.IsDisposed, other);
        using var scope = NewDisposeScope();
        long own = Rows(Tensors), added = Rows(other.Tensors);
        // space for the other rows first, as copies of the first row
        var index = new long[own + added];
        for (long row = 0; row < own; row++) index[row] = row;
        var joined = Select(tensor(index, device: Tensors.Count > 0 ? Tensors[0].device : CPU)).TakeOwnership();
        try
        {
            Fill(joined.Tensors, other.Tensors, own, added);
        }
        catch
        {
            joined.Dispose();
            throw;
        }
        return joined;
    }

    /// <summary>
    /// Returns what <see cref="Rewind"/> needs to return to this point: copies of all tensors, or less if the state needs less. The caller owns the
    /// snapshot.
    /// </summary>
    public virtual StateSnapshot Snapshot() => new([.. LiveTensors.Select(tensor => tensor.clone())]);

    /// <summary>Returns to a snapshot of this state.</summary>
    public virtual void Rewind(StateSnapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        Fill(LiveTensors, snapshot.Tensors, 0, Rows(snapshot.Tensors));
    }

    /// <summary>Returns the tensors to save in a file, as views or the tensors themselves, in the current dispose scope.</summary>
    /// <param name="lengths">The number of tokens of each row.</param>
    public virtual IReadOnlyList<Tensor> Save(IReadOnlyList<long> lengths) => [.. LiveTensors.Select(tensor => tensor.alias())];

    /// <summary>Restores the tensors that <see cref="Save"/> returned in an empty state with the same number of rows.</summary>
    /// <param name="saved">The tensors, on the CPU.</param>
    /// <param name="lengths">The number of tokens of each row.</param>
    /// <exception cref="ArgumentException">The tensors are not those of such a state.</exception>
    public virtual void Restore(IReadOnlyList<Tensor> saved, IReadOnlyList<long> lengths)
    {
        Require.Items(saved);
        ArgumentNullException.ThrowIfNull(lengths);
        Fill(LiveTensors, saved, 0, lengths.Count);
    }

    /// <summary>Releases memory that is reserved for more than <paramref name="length"/> tokens per row.</summary>
    public virtual void Trim(long length) { }

    /// <summary>After a stepwise pass over several tokens, saves what returns a tensor of the state to its value after any of them.</summary>
    /// <param name="index">The tensor of the state.</param>
    /// <param name="replay">Computes the tensor again. The state owns it.</param>
    internal void Remember(int index, StateReplay replay)
    {
        copies ??= new();
        copies.Add(index, replay);
    }

    /// <summary>
    /// Returns (batch, length, ...) of a decoding step (batch, ...), or of a stepwise pass over several tokens; <paramref name="index"/> is the
    /// tensor of the state that they change.
    /// </summary>
    internal Tensor Decode(long length, int index, Func<Tensor> step, Func<(Tensor Output, StateReplay Replay)> steps)
    {
        if (length == 1) return step().unsqueeze(1);
        var (output, replay) = steps();
        Remember(index, replay);
        return output;
    }

    /// <summary>
    /// Returns an empty state whose recurrent part has another type, in place of this one, which is empty. By default, the state has no such part.
    /// </summary>
    internal virtual MixerState WithStateType(ScalarType type) => this;

    /// <summary>Gets the states that take part in stepwise passes: this one, or those that it combines.</summary>
    internal virtual IEnumerable<MixerState> Parts => [this];

    /// <summary>Gets the size in bytes of the copies of the last stepwise pass.</summary>
    internal long CopyBytes => copies?.Bytes ?? 0;

    /// <summary>Returns the copies of the last stepwise pass, or null if it made none. The caller owns them.</summary>
    internal TokenCopies? TakeCopies()
    {
        var taken = copies;
        copies = null;
        return taken;
    }

    /// <summary>Restores the copies of the last stepwise pass for the tokens to keep, and disposes them.</summary>
    /// <param name="counts">The number of tokens to keep per row, at least 1.</param>
    /// <param name="onDevice">The same counts, (batch) int64 on the device of the state.</param>
    internal void KeepTokens(IReadOnlyList<int> counts, Tensor onDevice)
    {
        using var last = TakeCopies();
        last?.Restore(Tensors, counts);
        last?.Replay(Tensors, onDevice);
    }

    /// <summary>Reserves memory for <paramref name="length"/> tokens per row if the state grows.</summary>
    internal virtual void Reserve(long length) { }

    /// <summary>Makes the state empty, in the same memory. Not for custom states, whose empty state need not be zeros.</summary>
    internal virtual void Clear()
    {
        foreach (var tensor in Tensors) tensor.zero_();
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        TakeCopies()?.Dispose();
        foreach (var tensor in Tensors) tensor.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Detaches the tensors from every dispose scope: the state owns them.</summary>
    internal MixerState TakeOwnership()
    {
        foreach (var tensor in Tensors) tensor.DetachFromDisposeScope();
        return this;
    }

    /// <summary>Returns a copy of rows of a tensor, outside every dispose scope.</summary>
    /// <exception cref="ObjectDisposedException">The tensor, and so the state that owns it, is disposed.</exception>
    protected static Tensor Rows(Tensor tensor, Tensor rows)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentNullException.ThrowIfNull(rows);
        ObjectDisposedException.ThrowIf(tensor.IsInvalid, typeof(MixerState));
        return tensor.index_select(0, rows).DetachFromDisposeScope();
    }

    private protected bool IsDisposed => Tensors.Any(tensor => tensor.IsInvalid);

    IReadOnlyList<Tensor> LiveTensors
    {
        get
        {
            var tensors = Tensors;
            ObjectDisposedException.ThrowIf(tensors.Any(tensor => tensor.IsInvalid), this);
            return tensors;
        }
    }

    private protected T RequireSameKind<T>(T self, MixerState other) where T : MixerState
    {
        RequireSameKind(other);
        return (T)other;
    }

    void RequireSameKind(MixerState other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.GetType() != GetType())
            throw Require.Unfit(nameof(other), $"other is a {other.GetType().Name}", $"a {GetType().Name}");
    }

    static long Rows(IReadOnlyList<Tensor> tensors) => tensors.Count == 0 ? 0 : tensors[0].size(0);

    static void Fill(IReadOnlyList<Tensor> targets, IReadOnlyList<Tensor> values, long first, long count)
    {
        if (values.Count != targets.Count) throw Require.Unfit(null, $"values has {values.Count} tensors", $"{targets.Count}, as the state has");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        for (int i = 0; i < targets.Count; i++)
        {
            var target = targets[i].narrow(0, first, count);
            RequireLike(values[i], target.shape, target.dtype, i);
            target.copy_(values[i]);
        }
    }

    private protected static void RequireLike(Tensor value, long[] shape, ScalarType type, int index)
    {
        if (value.dtype != type || !value.shape.SequenceEqual(shape))
            throw Require.Unfit(null,
                $"tensor {index} is {value.dtype}[{string.Join(", ", value.shape)}]", $"{type}[{string.Join(", ", shape)}], as the state has");
    }
}
