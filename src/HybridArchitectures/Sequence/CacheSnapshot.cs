
namespace HybridArchitectures.Sequence;

/// <summary>
/// Represents a position in a <see cref="HybridCache"/> to which it can return, created by <see cref="HybridCache.Snapshot"/>. It belongs to that
/// cache and must not be used after it is disposed.
/// </summary>
public sealed class CacheSnapshot : IDisposable
{
    bool disposed;

    internal CacheSnapshot(HybridCache cache, long number, IReadOnlyList<long> lengths, IReadOnlyList<StateSnapshot?> parts) =>
        (Cache, Number, Lengths, Parts) = (cache, number, lengths, parts);

    /// <summary>Gets the number of tokens of each row.</summary>
    public IReadOnlyList<long> Lengths { get; }

    /// <summary>Gets the size of the snapshot in bytes.</summary>
    public long Bytes
    {
        get
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            return Parts.Sum(part => part?.Bytes ?? 0);
        }
    }

    internal HybridCache Cache { get; }

    internal long Number { get; }

    internal IReadOnlyList<StateSnapshot?> Parts { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        disposed = true;
        Cache.Forget(Number);
        foreach (var part in Parts) part?.Dispose();
    }
}
