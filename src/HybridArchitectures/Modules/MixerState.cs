using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// What one mixer remembers of the tokens it has seen: keys and values, convolution inputs, a state-space state, or several of these. A state whose tensors keep their
/// shape has to say only <see cref="Tensors"/> and <see cref="Select"/>; one that grows overrides the rest too. The library takes the tensors of a
/// state out of
/// every dispose scope after <see cref="Mixer.CreateState"/>, <see cref="Mixer.Forward"/> and the methods here, so that a state may hold plain
/// tensors.
/// </summary>
public abstract class MixerState : IDisposable
{
    Dictionary<(int Token, int Index), Tensor>? remembered;

    /// <summary>The tensors it consists of, batch first; they are all it remembers. They are owned by the state and change as tokens are seen.</summary>
    public abstract IReadOnlyList<Tensor> Tensors { get; }

    /// <summary>A copy of the given rows, in that order; rows may repeat.</summary>
    public abstract MixerState Select(Tensor rows);

    /// <summary>Memory in bytes.</summary>
    public virtual long Bytes => Tensors.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize);

    /// <summary>A new state of this one's rows, at least one, and the other's after them.</summary>
    /// <param name="other">A state of the same mixer.</param>
    /// <exception cref="ArgumentException">The states are not of one mixer.</exception>
    public virtual MixerState Append(MixerState other)
    {
        RequireSameKind(other);
        using var scope = NewDisposeScope();
        long own = Rows(Tensors), added = Rows(other.Tensors);
        // room for the others first, as copies of the first row
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

    /// <summary>What <see cref="Rewind"/> needs to come back here: copies of all tensors, or less where the state can do with less. The caller owns it.</summary>
    public virtual StateSnapshot Snapshot() => new([.. Tensors.Select(tensor => tensor.clone())]);

    /// <summary>Goes back to a snapshot of this very state.</summary>
    public virtual void Rewind(StateSnapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        Fill(Tensors, snapshot.Tensors, 0, Rows(snapshot.Tensors));
    }

    /// <summary>What a file keeps of it, as views or the tensors themselves, in the current dispose scope.</summary>
    /// <param name="lengths">Tokens each row has seen.</param>
    public virtual IReadOnlyList<Tensor> Save(IReadOnlyList<long> lengths) => [.. Tensors.Select(tensor => tensor.alias())];

    /// <summary>Takes back what <see cref="Save"/> gave, into an empty state of as many rows.</summary>
    /// <param name="saved">The tensors, in main memory.</param>
    /// <param name="lengths">Tokens each row has seen.</param>
    /// <exception cref="ArgumentException">They are not those of such a state.</exception>
    public virtual void Restore(IReadOnlyList<Tensor> saved, IReadOnlyList<long> lengths)
    {
        ArgumentNullException.ThrowIfNull(saved);
        ArgumentNullException.ThrowIfNull(lengths);
        Fill(Tensors, saved, 0, lengths.Count);
    }

    /// <summary>Gives memory back that is kept for more than <paramref name="length"/> tokens a row.</summary>
    public virtual void Trim(long length) { }

    /// <summary>In a stepwise pass: keeps a copy of a tensor as it is after a token, unless it is the last.</summary>
    internal void Remember(int token, int index, Models.SequenceContext context)
    {
        if (token >= context.Length - 1) return;
        remembered ??= [];
        remembered[(token, index)] = Tensors[index].clone().DetachFromDisposeScope();
    }

    /// <summary>
    /// Returns (batch, length, ...) of steps (batch, ...), one after another; <paramref name="index"/> names the tensor of the state that they move.
    /// </summary>
    internal Tensor EachToken(long length, int index, Models.SequenceContext context, Func<int, Tensor> step)
    {
        if (length == 1) return step(0).unsqueeze(1);
        var results = new Tensor[length];
        for (int token = 0; token < results.Length; token++)
        {
            results[token] = step(token);
            Remember(token, index, context);
        }
        return stack(results, 1);
    }

    /// <summary>Puts each row back to what it was after its first tokens of the last stepwise pass.</summary>
    internal virtual void KeepTokens(IReadOnlyList<int> counts, int length)
    {
        if (remembered is null) return;
        foreach (int index in remembered.Keys.Select(key => key.Index).Distinct())
        {
            for (int row = 0; row < counts.Count; row++)
                if (counts[row] < length) Tensors[index].select(0, row).copy_(remembered[(counts[row] - 1, index)].select(0, row));
        }
        foreach (var copy in remembered.Values) copy.Dispose();
        remembered = null;
    }

    /// <summary>Makes room for <paramref name="length"/> tokens a row, where the state grows.</summary>
    internal virtual void Reserve(long length) { }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        foreach (var tensor in Tensors) tensor.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Takes the tensors out of every dispose scope: the state owns them.</summary>
    internal MixerState TakeOwnership()
    {
        foreach (var tensor in Tensors) tensor.DetachFromDisposeScope();
        return this;
    }

    /// <summary>A copy of rows of a tensor, outside every dispose scope.</summary>
    protected static Tensor Rows(Tensor tensor, Tensor rows) => tensor.index_select(0, rows).DetachFromDisposeScope();

    private protected T RequireSameKind<T>(T self, MixerState other) where T : MixerState
    {
        RequireSameKind(other);
        return (T)other;
    }

    void RequireSameKind(MixerState other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.GetType() != GetType()) throw new ArgumentException($"other is a {other.GetType().Name}; expected a {GetType().Name}", nameof(other));
    }

    static long Rows(IReadOnlyList<Tensor> tensors) => tensors.Count == 0 ? 0 : tensors[0].size(0);

    static void Fill(IReadOnlyList<Tensor> targets, IReadOnlyList<Tensor> values, long first, long count)
    {
        if (values.Count != targets.Count) throw new ArgumentException($"{values.Count} tensors are given for a state of {targets.Count}");
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
            throw new ArgumentException($"tensor {index} is {value.dtype}[{string.Join(", ", value.shape)}]; the state's is {type}[{string.Join(", ", shape)}]");
    }
}
