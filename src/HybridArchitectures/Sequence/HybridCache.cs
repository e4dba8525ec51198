using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Stores the state of a model for a batch of rows: keys and values of attention, inputs of convolutions, and state-space states, in one
/// <see cref="MixerState"/> per mixer. The rows can have different numbers of tokens.
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
    readonly List<long> snapshots = [];         // those that are valid, oldest first
    long nextSnapshot;
    bool disposed;

    /// <summary>Creates a cache from the states of the mixers of a model.</summary>
    /// <param name="states">One state per block; null for a block without a mixer. The cache owns them.</param>
    /// <param name="lengths">The number of tokens of each row.</param>
    /// <exception cref="ArgumentOutOfRangeException">A length is negative.</exception>
    public HybridCache(IReadOnlyList<MixerState?> states, IReadOnlyList<long> lengths)
    {
        ArgumentNullException.ThrowIfNull(states);
        ArgumentNullException.ThrowIfNull(lengths);
        foreach (long length in lengths) Require.AtLeast(length, 0, nameof(lengths));
        States = [.. states];
        this.lengths = [.. lengths];
    }

    /// <summary>Gets the design of the model for which the cache was created, or null if it is unknown.</summary>
    internal HybridDesign? Design { get; init; }

    /// <summary>Gets the type that was requested for recurrent states; null for the type of the sums.</summary>
    internal ScalarType? StateType { get; init; }

    /// <summary>Gets the number of rows.</summary>
    public int Batch => lengths.Length;

    /// <summary>Gets the number of tokens of each row.</summary>
    public IReadOnlyList<long> Lengths => lengths;

    /// <summary>Gets the states, one per block; null for a block without a mixer.</summary>
    public IReadOnlyList<MixerState?> States { get; }

    /// <summary>Gets the size of all states in bytes.</summary>
    public long Bytes
    {
        get
        {
            RequireAlive();
            return States.Sum(state => state?.Bytes ?? 0);
        }
    }

    /// <summary>
    /// Returns a copy of rows, in the given order. Rows can occur several times. Use it to fork a prompt, to drop finished rows, or to reorder.
    /// </summary>
    /// <param name="rows">Row numbers, from 0.</param>
    /// <returns>A cache that the caller disposes.</returns>
    public HybridCache Select(params IReadOnlyList<int> rows)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(rows);
        foreach (int row in rows) RequireRow(row);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var index = Indices.From(rows.Select(row => (long)row), Device);
        var states = States.Select(state => state?.Select(index).TakeOwnership());
        return new HybridCache([.. states], [.. rows.Select(row => lengths[row])])
        {
            Design = Design, StepsOnDevice = StepsOnDevice, CudaGraphs = CudaGraphs, StateType = StateType,
        };
    }

    /// <summary>Returns a copy of the cache.</summary>
    public HybridCache Fork() => Select([.. Enumerable.Range(0, Batch)]);

    /// <summary>
    /// Returns a copy with every row <paramref name="times"/> times; the copies of a row are adjacent. Use it to create several continuations of one
    /// prompt.
    /// </summary>
    /// <param name="times">The number of copies of each row, at least 1. The copy has at most 1,048,576 rows.</param>
    /// <returns>A cache that the caller disposes.</returns>
    public HybridCache Fork(int times)
    {
        RequireAlive();
        Require.InRange(times >= 1 && (long)Batch * times <= Require.MaxSize, nameof(times), times,
            $"1 to {Require.MaxSize / Math.Max(1, Batch)}, with which the copy has at most {Require.MaxSize} rows");
        return Select([.. Enumerable.Range(0, Batch * times).Select(row => row / times)]);
    }

    /// <summary>Returns a copy without the given rows.</summary>
    /// <param name="rows">Row numbers, from 0.</param>
    /// <returns>A cache that the caller disposes.</returns>
    public HybridCache Drop(params IReadOnlyList<int> rows)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(rows);
        foreach (int row in rows) RequireRow(row);
        return Select([.. Enumerable.Range(0, Batch).Except(rows)]);
    }

    /// <summary>
    /// Returns a new cache with the rows of this cache, followed by those of another. Use it to add rows to a running batch. Both caches are
    /// unchanged.
    /// </summary>
    /// <param name="other">A cache of the same model.</param>
    /// <returns>A cache that the caller disposes.</returns>
    /// <exception cref="ArgumentException">The caches do not belong to the same model.</exception>
    public HybridCache Append(HybridCache other)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(other);
        other.RequireAlive();
        if (other.States.Count != States.Count)
            throw Require.Unfit(nameof(other), $"other was made for {other.States.Count} blocks", $"{States.Count}");
        if (other.Batch == 0) return Fork();
        if (Batch == 0) return other.Fork();
        var joined = new MixerState?[States.Count];
        try
        {
            for (int block = 0; block < joined.Length; block++)
            {
                if (States[block] is null != other.States[block] is null)
                    throw Require.Unfit(nameof(other), $"block {block + 1} has a state in one cache only", "a state in both or in neither");
                joined[block] = States[block]?.Append(other.States[block]!).TakeOwnership();
            }
        }
        catch
        {
            foreach (var state in joined) state?.Dispose();
            throw;
        }
        return new HybridCache(joined, [.. lengths, .. other.lengths])
        {
            Design = Design, StepsOnDevice = StepsOnDevice, CudaGraphs = CudaGraphs, StateType = StateType,
        };
    }

    /// <summary>Releases memory reserved for later tokens. The remaining size is that of the cost model for the length of the longest row.</summary>
    public void Trim()
    {
        RequireAlive();
        long maxLength = lengths.DefaultIfEmpty(0).Max();
        foreach (var state in States)
        {
            state?.Trim(maxLength);
            state?.TakeOwnership();
        }
    }

    /// <summary>
    /// Creates a snapshot, to which <see cref="Rewind"/> returns. Attention over all positions needs no memory for it. State-space states,
    /// convolutions and windows are copied.
    /// </summary>
    public CacheSnapshot Snapshot()
    {
        RequireAlive();
        var parts = new StateSnapshot?[States.Count];
        for (int block = 0; block < parts.Length; block++) parts[block] = States[block]?.Snapshot();
        snapshots.Add(nextSnapshot);
        return new CacheSnapshot(this, nextSnapshot++, [.. lengths], parts);
    }

    /// <summary>Returns to a snapshot of this cache. A snapshot can be used several times. Later snapshots become invalid.</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <exception cref="ArgumentException">The snapshot belongs to another cache.</exception>
    /// <exception cref="InvalidOperationException">
    /// The snapshot is invalid: the cache has returned to an earlier one, or the snapshot was disposed.
    /// </exception>
    public void Rewind(CacheSnapshot snapshot)
    {
        RequireAlive();
        ArgumentNullException.ThrowIfNull(snapshot);
        if (!ReferenceEquals(snapshot.Cache, this))
            throw Require.Unfit(nameof(snapshot), "snapshot belongs to another cache", "a snapshot of this cache");
        int index = snapshots.BinarySearch(snapshot.Number);
        if (index < 0) throw new InvalidOperationException("the snapshot is void: the cache went back behind it, or the snapshot has been disposed");
        snapshots.RemoveRange(index + 1, snapshots.Count - index - 1);
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
        if (snapshots.BinarySearch(snapshot) is >= 0 and var index) snapshots.RemoveAt(index);
    }

    void RequireRow(int row)
    {
        if (row < 0 || row >= Batch)
            throw Require.Holding("rows", row, Batch == 0 ? "none, because the cache is empty" : $"0 to {Batch - 1}");
    }

    internal void Advance(SequenceContext context)
    {
        for (int row = 0; row < lengths.Length; row++) lengths[row] += context.RowLength(row);
        areCurrent = context.StepLengths is not null;
    }

    /// <summary>Throws an exception if the cache has been disposed.</summary>
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
