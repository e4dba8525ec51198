namespace HybridArchitectures.Kernels;

/// <summary>Represents a range of neighbouring columns.</summary>
readonly record struct ColumnRange(long First, long Count)
{
    public long End => First + Count;

    /// <summary>Divides the range into ranges of at most <paramref name="size"/> columns.</summary>
    public IEnumerable<ColumnRange> Divided(long size)
    {
        for (long done = 0; done < Count; done += size) yield return new(First + done, Math.Min(size, Count - done));
    }
}
