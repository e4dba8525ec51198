using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// What a model remembers of a batch of rows: keys and values, convolution inputs and state-space states, one <see cref="MixerState"/> a mixer. Rows may have seen
/// different numbers of tokens.
/// </summary>
/// <example>
/// <code>
/// using var scope = NewDisposeScope();
/// using var model = HybridDesign.Create(width: 64, vocabularySize: 256).WithMamba2(stateSize: 16, headSize: 16)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(96)).Depth(2).Build().CreateModel(seed: 0);
/// using HybridCache cache = model.CreateCache(1);
/// using (var context = new SequenceContext(cache: cache)) model.NextLogits(randint(256, [1, 40], ScalarType.Int64), context);
/// using HybridCache samples = cache.Fork(4);                                         // four continuations of one prompt
/// Console.WriteLine($"{samples.Batch} rows, {samples.Bytes:N0} bytes");
/// </code>
/// </example>
public sealed partial class HybridCache : IDisposable
{
    readonly long[] lengths;
    readonly List<long> snapshots = [];         // those one can go back to, oldest first
    long nextSnapshot;
    bool disposed;

    /// <summary>A cache over the states of a model's mixers.</summary>
    /// <param name="states">One state a block, null for a block without mixer. The cache owns them.</param>
    /// <param name="lengths">Tokens each row has seen.</param>
    public HybridCache(IReadOnlyList<MixerState?> states, IReadOnlyList<long> lengths)
    {
        ArgumentNullException.ThrowIfNull(states);
        ArgumentNullException.ThrowIfNull(lengths);
        States = [.. states];
        this.lengths = [.. lengths];
    }

    /// <summary>The design of the model it was made for, where known.</summary>
    internal HybridDesign? Design { get; init; }

    /// <summary>Rows.</summary>
    public int Batch => lengths.Length;

    /// <summary>Tokens each row has seen.</summary>
    public IReadOnlyList<long> Lengths => lengths;

    /// <summary>One state a block, null for a block without mixer.</summary>
    public IReadOnlyList<MixerState?> States { get; }

    /// <summary>Memory of all states in bytes.</summary>
    public long Bytes
    {
        get
        {
            RequireAlive();
            return States.Sum(state => state?.Bytes ?? 0);
        }
    }

    /// <summary>A copy of the given rows, in that order; rows may repeat: to fork a prompt into several continuations, to drop finished rows, to reorder.</summary>
    /// <param name="rows">Row numbers from 0.</param>
    public HybridCache Select(params IReadOnlyList<int> rows)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(rows);
        foreach (int row in rows) RequireRow(row);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var device = States.OfType<MixerState>().SelectMany(state => state.Tensors).FirstOrDefault()?.device ?? CPU;
        var index = Indices.From(rows.Select(row => (long)row), device);
        var states = States.Select(state => state?.Select(index).TakeOwnership());
        return new HybridCache([.. states], [.. rows.Select(row => lengths[row])]) { Design = Design, StepsOnDevice = StepsOnDevice };
    }

    /// <summary>A copy of everything.</summary>
    public HybridCache Fork() => Select([.. Enumerable.Range(0, Batch)]);

    /// <summary>A copy with every row <paramref name="times"/> times, copies of a row side by side: one prompt, read once, for several continuations.</summary>
    public HybridCache Fork(int times)
    {
        RequireAlive();
        ArgumentOutOfRangeException.ThrowIfLessThan(times, 1);
        return Select([.. Enumerable.Range(0, checked(Batch * times)).Select(row => row / times)]);
    }

    /// <summary>A copy without the given rows.</summary>
    /// <param name="rows">Row numbers from 0.</param>
    public HybridCache Drop(params IReadOnlyList<int> rows)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(rows);
        foreach (int row in rows) RequireRow(row);
        return Select([.. Enumerable.Range(0, Batch).Except(rows)]);
    }

    /// <summary>A new cache of this one's rows and the other's after them: rows join a running batch. Both stay as they are.</summary>
    /// <param name="other">A cache of the same model.</param>
    /// <exception cref="ArgumentException">The caches are not of one model.</exception>
    public HybridCache Append(HybridCache other)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(other);
        other.RequireAlive();
        if (other.States.Count != States.Count) throw new ArgumentException($"other was made for {other.States.Count} blocks; expected {States.Count}", nameof(other));
        if (other.Batch == 0) return Fork();
        if (Batch == 0) return other.Fork();
        var joined = new MixerState?[States.Count];
        try
        {
            for (int block = 0; block < joined.Length; block++)
            {
                if (States[block] is null != other.States[block] is null) throw new ArgumentException($"block {block} has a state in one cache only", nameof(other));
                joined[block] = States[block]?.Append(other.States[block]!).TakeOwnership();
            }
        }
        catch
        {
            foreach (var state in joined) state?.Dispose();
            throw;
        }
        return new HybridCache(joined, [.. lengths, .. other.lengths]) { Design = Design, StepsOnDevice = StepsOnDevice };
    }

    /// <summary>Gives back memory kept for tokens to come: what is left is what the cost model counts for the longest row's length.</summary>
    public void Trim()
    {
        RequireAlive();
        long longest = lengths.DefaultIfEmpty(0).Max();
        foreach (var state in States)
        {
            state?.Trim(longest);
            state?.TakeOwnership();
        }
    }

    /// <summary>
    /// Marks the place where this cache stands, to come back to by <see cref="Rewind"/>. Attention over all positions costs no memory for it; state-space states, convolutions and
    /// windows are copied.
    /// </summary>
    public CacheSnapshot Snapshot()
    {
        RequireAlive();
        var parts = new StateSnapshot?[States.Count];
        for (int block = 0; block < parts.Length; block++) parts[block] = States[block]?.Snapshot();
        snapshots.Add(nextSnapshot);
        return new CacheSnapshot(this, nextSnapshot++, [.. lengths], parts);
    }

    /// <summary>Goes back to a snapshot of this cache, as often as wanted. Snapshots taken after it are void from then on.</summary>
    /// <exception cref="ArgumentException">The snapshot is of another cache.</exception>
    /// <exception cref="InvalidOperationException">It is void: the cache went back behind it, or it has been disposed.</exception>
    public void Rewind(CacheSnapshot snapshot)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(snapshot);
        if (!ReferenceEquals(snapshot.Cache, this)) throw new ArgumentException("the snapshot is of another cache", nameof(snapshot));
        int place = snapshots.BinarySearch(snapshot.Number);
        if (place < 0) throw new InvalidOperationException("the snapshot is void: the cache went back behind it, or the snapshot has been disposed");
        snapshots.RemoveRange(place + 1, snapshots.Count - place - 1);
        for (int block = 0; block < States.Count; block++)
        {
            States[block]?.Rewind(snapshot.Parts[block]!);
            States[block]?.TakeOwnership();
        }
        snapshot.Lengths.ToArray().CopyTo(lengths, 0);
        areCurrent = false;
    }

    internal void SetLengths(IReadOnlyList<long> values)
    {
        for (int row = 0; row < lengths.Length; row++) lengths[row] = values[row];
        areCurrent = false;
    }

    internal void Forget(long snapshot)
    {
        if (snapshots.BinarySearch(snapshot) is >= 0 and var place) snapshots.RemoveAt(place);
    }

    void RequireRow(int row)
    {
        if (row < 0 || row >= Batch) throw new ArgumentOutOfRangeException("rows", row, Batch == 0 ? "the cache holds no rows" : $"the cache holds rows 0 to {Batch - 1}");
    }

    internal void Advance(SequenceContext context)
    {
        for (int row = 0; row < lengths.Length; row++) lengths[row] += context.RowLength(row);
        areCurrent = context.StepLengths is not null;
    }

    /// <summary>Refuses a cache that has been disposed.</summary>
    /// <exception cref="ObjectDisposedException">The cache has been disposed.</exception>
    internal void RequireAlive() => ObjectDisposedException.ThrowIf(disposed, this);

    /// <inheritdoc/>
    public void Dispose()
    {
        disposed = true;
        foreach (var state in States) state?.Dispose();
        DisposeSteps();
    }
}
