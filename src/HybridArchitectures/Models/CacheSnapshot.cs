using HybridArchitectures.Modules;

namespace HybridArchitectures.Models;

/// <summary>
/// A place in the life of a <see cref="HybridCache"/>, made by <see cref="HybridCache.Snapshot"/>. It belongs to that cache and does not outlive it.
/// </summary>
public sealed class CacheSnapshot : IDisposable
{
    bool disposed;

    internal CacheSnapshot(HybridCache cache, long number, IReadOnlyList<long> lengths, IReadOnlyList<StateSnapshot?> parts) => (Cache, Number, Lengths, Parts) = (cache, number, lengths, parts);

    /// <summary>Tokens each row had seen.</summary>
    public IReadOnlyList<long> Lengths { get; }

    /// <summary>Memory it holds in bytes.</summary>
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
