using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Modules;

/// <summary>
/// Counts the writes to weights that do not change the version number of a tensor. The fused optimizer step of libtorch is such a write. Everything
/// that stores a result computed from weights compares this count in addition to the version.
/// </summary>
static class WeightWrites
{
    static long count;

    /// <summary>Gets the number of writes in this process.</summary>
    public static long Count => Interlocked.Read(ref count);

    /// <summary>Counts a write. Call it after the write.</summary>
    public static void Add()
    {
        Interlocked.Increment(ref count);
        WeightCopies.CountWrite();
    }
}
