using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>
/// Contains the bytes of a <see cref="Sequence.HybridCache"/> after a prefill, by kind of state.
/// </summary>
/// <remarks>
/// The buffers of keys and values grow by half when they are full, so a cache that was filled token by token may have up to half more of them. All
/// other parts do not depend on the length. The state of a scan is float32, or float64 if the activations are, unless a cache with bfloat16 states
/// (<see cref="Generation.GenerationOptions.StateType"/>) is counted.
/// </remarks>
/// <param name="KeysAndValues">The bytes of full attention.</param>
/// <param name="Windows">The bytes of keys, values and positions of sliding windows, with their sinks and one spare slot.</param>
/// <param name="Convolutions">The bytes of the last inputs of convolutions and token shifts.</param>
/// <param name="Scans">The bytes of the states of state-space layers.</param>
/// <param name="Other">The bytes of custom mixers.</param>
public sealed record CacheSize(long KeysAndValues, long Windows, long Convolutions, long Scans, long Other)
{
    /// <summary>Gets the sum.</summary>
    public long Total => KeysAndValues + Windows + Convolutions + Scans + Other;

    /// <summary>Gets the kinds with a size above 0, each with its size.</summary>
    internal string Kinds
    {
        get
        {
            (string Name, long Bytes)[] kinds =
                [("keys and values", KeysAndValues), ("windows", Windows), ("convolutions", Convolutions), ("states", Scans), ("other", Other)];
            string listed = string.Join(", ", kinds.Where(kind => kind.Bytes != 0).Select(kind => $"{kind.Name} {Units.Bytes(kind.Bytes)}"));
            return listed.Length == 0 ? "no state" : listed;
        }
    }

    /// <summary>Returns the sum and the kinds, for example <c>62.6 MiB (keys and values 62.0 MiB, states 640 KiB)</c>.</summary>
    public override string ToString() => $"{Units.Bytes(Total)} ({Kinds})";

    /// <summary>Returns the size of a cache whose rows have each seen <paramref name="length"/> tokens.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="length">The number of tokens.</param>
    /// <param name="batch">The number of rows. The default is 1.</param>
    /// <param name="elementSize">The bytes per activation: 2 (the default) for bfloat16, 4 for float32.</param>
    /// <param name="stateSize">
    /// The bytes per number of recurrent states: 2 for bfloat16 states, 4 for float32 states. The default, null, means 4, or 8 with float64
    /// activations.
    /// </param>
    /// <exception cref="ArgumentException">
    /// A number is out of range, a model of the design is not possible, or a layer cannot store bfloat16 states.
    /// </exception>
    public static CacheSize FromDesign(HybridDesign design, long length, long batch = 1, int elementSize = 2, int? stateSize = null)
    {
        ArgumentNullException.ThrowIfNull(design);
        design.Check();
        Require.AtLeast(length, 0, nameof(length));
        Require.AtLeast(batch, 1, nameof(batch));
        Require.That(elementSize is 1 or 2 or 4 or 8, nameof(elementSize), elementSize, "1, 2, 4 or 8 bytes");
        var total = new CacheSize(0, 0, 0, 0, 0);
        foreach (var block in design.Blocks) total += FromDesign(design, block, length, elementSize);
        long scans = total.Scans / MixerCache.ScanElement(elementSize) * StateSize(design, elementSize, stateSize);
        return new(batch * total.KeysAndValues, batch * total.Windows, batch * total.Convolutions, batch * scans, batch * total.Other);
    }

    /// <summary>Returns the bytes per number of recurrent states. Refuses sizes that a layer does not support.</summary>
    internal static int StateSize(HybridDesign design, int elementSize, int? requested)
    {
        int sums = MixerCache.ScanElement(elementSize);
        if (requested is not { } size || size == sums) return sums;
        if (size != 2 || sums != sizeof(float))
            throw Require.OutOfRange("stateSize", size, sums == sizeof(float) ? "2 or 4 bytes" : $"{sums} bytes, as activations have");
        for (int i = 0; i < design.Blocks.Count; i++)
            if (design.Blocks[i].Mixer is { StoresNarrowStates: false } mixer)
                throw Require.OutOfRange("stateSize", size, $"4 bytes, because block {i + 1} has the mixer {mixer.GetType().Name}");
        return size;
    }

    /// <summary>
    /// Returns the bytes for one row according to Table 1 of arXiv 2510.04800: all numbers have two bytes, attention stores the keys and values that
    /// a query sees, and a convolution stores as many inputs as it is wide.
    /// </summary>
    public static double Paper(HybridDesign design, long length)
    {
        ArgumentNullException.ThrowIfNull(design);
        design.Check();
        Require.AtLeast(length, 0, nameof(length));
        return design.Blocks.Sum(block =>
            (block.Mixer?.CountPaperCacheBytes(design.Width, length) ?? 0) + 2.0 * block.FeedForward.CountState(design.Width)
                + (design.SharedAttention(block)?.CountPaperCacheBytes(design.Width, length) ?? 0));
    }

    /// <summary>Returns the size of the cache of one block for one row that has seen <paramref name="length"/> tokens.</summary>
    /// <param name="design">The design of the block.</param>
    /// <param name="block">The block.</param>
    /// <param name="length">The number of tokens.</param>
    /// <param name="elementSize">The bytes per activation.</param>
    public static CacheSize FromDesign(HybridDesign design, BlockSpec block, long length, int elementSize)
    {
        ArgumentNullException.ThrowIfNull(design);
        ArgumentNullException.ThrowIfNull(block);
        return FromMixer(design.SharedAttention(block), design.Width, length, elementSize)
            + FromMixer(block.Mixer, design.Width, length, elementSize)
            + new CacheSize(0, 0, block.FeedForward.CountState(design.Width) * elementSize, 0, 0);
    }

    static CacheSize FromMixer(MixerSpec? mixer, int width, long length, int elementSize)
    {
        var cache = mixer?.CountCache(width, length, elementSize) ?? default;
        return new(cache.KeysAndValues, cache.Windows, cache.Convolutions, cache.Scans, cache.Other);
    }

    /// <summary>Returns the sum of two sizes by kind.</summary>
    public static CacheSize operator +(CacheSize left, CacheSize right)
    {
        ArgumentNullException.ThrowIfNull(left);
        ArgumentNullException.ThrowIfNull(right);
        return new(left.KeysAndValues + right.KeysAndValues, left.Windows + right.Windows, left.Convolutions + right.Convolutions,
            left.Scans + right.Scans, left.Other + right.Other);
    }
}
