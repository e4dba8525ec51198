namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents a random order of 0 … count-1 that is computed item by item and not stored: a four-round Feistel network over the next even number of
/// bits, iterated until the value is in the range (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
/// </summary>
readonly struct SeededPermutation
{
    readonly long count;
    readonly int half;
    readonly ulong key;

    public SeededPermutation(long count, ulong key)
    {
        this.count = count;
        this.key = key;
        half = 1;
        while (1L << 2 * half < count) half++;
    }

    public long this[long index]
    {
        get
        {
            ulong value = (ulong)index, mask = (1ul << half) - 1;
            do
            {
                ulong left = value >> half, right = value & mask;
                for (uint round = 0; round < 4; round++) (left, right) = (right, left ^ (Mix(key + round * 0x9e3779b97f4a7c15 + right) & mask));
                value = left << half | right;
            }
            while (value >= (ulong)count);
            return (long)value;
        }
    }

    /// <summary>
    /// Applies the finalizer of SplitMix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit of the value.
    /// </summary>
    public static ulong Mix(ulong value)
    {
        value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
        value = (value ^ value >> 27) * 0x94d049bb133111eb;
        return value ^ value >> 31;
    }
}
