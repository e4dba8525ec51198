using System.Runtime.CompilerServices;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Generates random numbers that are the same on every machine and in every version: xoshiro256** 1.0 (Blackman and Vigna, "Scrambled linear
/// pseudorandom number generators", 2021), seeded by SplitMix64. Do not use it for cryptography.
/// </summary>
public sealed class SeededRandom
{
    ulong s0, s1, s2, s3;

    /// <summary>Creates a generator.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="stream">The stream. Generators with the same seed and different streams are independent. The default is 0.</param>
    public SeededRandom(long seed, long stream = 0)
    {
        ulong state = SeededPermutation.Mix((ulong)seed + 0x9e3779b97f4a7c15) ^ SeededPermutation.Mix((ulong)stream * 0xd1342543de82ef95 + 1);
        ulong Next() => SeededPermutation.Mix(state += 0x9e3779b97f4a7c15);
        (s0, s1, s2, s3) = (Next(), Next(), Next(), Next());
    }

    internal SeededRandom(ulong s0, ulong s1, ulong s2, ulong s3) => (this.s0, this.s1, this.s2, this.s3) = (s0, s1, s2, s3);

    /// <summary>Returns 64 random bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong NextBits()
    {
        ulong result = ulong.RotateLeft(s1 * 5, 7) * 9, moved = s1 << 17;
        s2 ^= s0;
        s3 ^= s1;
        s1 ^= s2;
        s0 ^= s3;
        s2 ^= moved;
        s3 = ulong.RotateLeft(s3, 45);
        return result;
    }

    /// <summary>Returns an integer from 0 to <paramref name="end"/> - 1, each equally likely.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="end"/> is below 1.</exception>
    public int Next(int end)
    {
        Require.AtLeast(end, 1);
        // numbers above the last multiple of `end` are drawn again, which makes all results equally likely
        ulong limit = ulong.MaxValue - ulong.MaxValue % (ulong)end;
        ulong bits;
        do bits = NextBits();
        while (bits >= limit);
        return (int)(bits % (ulong)end);
    }

    /// <summary>Returns an integer from <paramref name="start"/> to <paramref name="end"/> - 1, each equally likely.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="end"/> is not above <paramref name="start"/>.</exception>
    public int Next(int start, int end)
    {
        Require.InRange(end > start, nameof(end), end, $"above {start}");
        return start + Next(end - start);
    }

    /// <summary>Returns a number in [0, 1).</summary>
    public double NextDouble() => (NextBits() >> 11) * (1.0 / (1ul << 53));

    /// <summary>Shuffles items. Every order is equally likely.</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int other = Next(i + 1);
            (items[i], items[other]) = (items[other], items[i]);
        }
    }

    /// <summary>Returns different integers from 0 to <paramref name="end"/> - 1, in random order.</summary>
    /// <param name="count">The number of integers, 0 to <paramref name="end"/>.</param>
    /// <param name="end">One more than the maximum integer.</param>
    public int[] Sample(int count, int end)
    {
        Require.InRange(count >= 0 && count <= end, nameof(count), count, $"0 to {end}");
        // Floyd's method draws a set, and the shuffle draws its order
        var chosen = new HashSet<int>(count);
        var order = new List<int>(count);
        for (int i = end - count; i < end; i++)
        {
            int drawn = Next(i + 1);
            if (!chosen.Add(drawn)) chosen.Add(drawn = i);
            order.Add(drawn);
        }
        Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(order));
        return [.. order];
    }
}
