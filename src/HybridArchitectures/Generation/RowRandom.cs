namespace HybridArchitectures.Generation;

/// <summary>
/// The random numbers of one row: a function of the row's seed and the token's number alone (SplitMix64 over a counter), so that they do not depend
/// on the device,
/// on other rows, or on how often the generation was interrupted.
/// </summary>
readonly struct RowRandom(long seed)
{
    readonly ulong origin = Mix((ulong)seed);

    /// <summary>A number in [0, 1), uniform with 53 bits.</summary>
    public double At(int index) => (Mix(origin + unchecked(((ulong)index + 1) * 0x9E3779B97F4A7C15)) >> 11) * (1.0 / (1UL << 53));

    /// <summary>
    /// The item that a number in [0, 1) falls on, where each takes a share by its weight; -1 if the weights do not add up to a positive finite
    /// number.
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
