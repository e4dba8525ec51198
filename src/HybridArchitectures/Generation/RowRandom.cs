namespace HybridArchitectures.Generation;

/// <summary>
/// Provides the random numbers of one row. They depend only on the seed of the row and the number of the token (SplitMix64 over a counter), and not
/// on the device, on other rows, or on interruptions of the generation.
/// </summary>
readonly struct RowRandom(long seed)
{
    readonly ulong origin = Mix((ulong)seed);

    /// <summary>Returns a number in [0, 1), uniform with 53 bits.</summary>
    public double At(int index) => (Mix(origin + unchecked(((ulong)index + 1) * 0x9E3779B97F4A7C15)) >> 11) * (1.0 / (1UL << 53));

    /// <summary>
    /// Returns the item that a number in [0, 1) selects, with probabilities proportional to the weights; -1 if the sum of the weights is not positive
    /// and finite.
    /// </summary>
    public static int Pick(ReadOnlySpan<float> weights, double number)
    {
        double total = 0;
        foreach (float weight in weights) total += weight;
        if (!(total > 0) || !double.IsFinite(total)) return -1;
        double target = number * total, sum = 0;
        int last = -1;
        for (int i = 0; i < weights.Length; i++)
        {
            if (weights[i] <= 0) continue;
            sum += weights[i];
            last = i;
            if (sum > target) break;
        }
        return last;
    }

    static ulong Mix(ulong z)
    {
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
        return z ^ (z >> 31);
    }
}
