namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes how Llama 3.1 and later scale rotary frequencies for contexts longer than in the first training ("llama3" in configurations). Waves
/// longer than <paramref name="OriginalContextLength"/> / <paramref name="LowFrequencyFactor"/> tokens are slowed by <paramref name="Factor"/>, waves
/// shorter than <paramref name="OriginalContextLength"/> / <paramref name="HighFrequencyFactor"/> do not change, and waves between them are blended
/// linearly in frequency.
/// </summary>
/// <param name="Factor">The factor of slow waves (<c>factor</c>), for example 32 in Llama 3.2, at least 1.</param>
/// <param name="LowFrequencyFactor"><c>low_freq_factor</c>, for example 1, above 0.</param>
/// <param name="HighFrequencyFactor"><c>high_freq_factor</c>, for example 4, above the low one.</param>
/// <param name="OriginalContextLength"><c>original_max_position_embeddings</c> in tokens, for example 8192.</param>
public sealed record Llama3RotaryScaling(double Factor, double LowFrequencyFactor, double HighFrequencyFactor, int OriginalContextLength)
{
    internal double Apply(double frequency)
    {
        double turns = OriginalContextLength * frequency / (2 * Math.PI);        // of this wave in the original context
        if (turns < LowFrequencyFactor) return frequency / Factor;
        if (turns > HighFrequencyFactor) return frequency;
        double kept = (turns - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor);
        return (1 - kept) * frequency / Factor + kept * frequency;
    }

    internal void Check(string name)
    {
        if (!(Factor >= 1) || double.IsInfinity(Factor))
            throw new ArgumentException($"{name}.{nameof(Factor)} is {Factor}; expected a finite number of at least 1", name);
        if (!(LowFrequencyFactor > 0))
            throw new ArgumentException($"{name}.{nameof(LowFrequencyFactor)} is {LowFrequencyFactor}; expected a number above 0", name);
        if (!(HighFrequencyFactor > LowFrequencyFactor) || double.IsInfinity(HighFrequencyFactor))
            throw new ArgumentException(
                $"{name}.{nameof(HighFrequencyFactor)} is {HighFrequencyFactor}; expected a finite number above the low factor, {LowFrequencyFactor}",
                name);
        if (OriginalContextLength < 1)
            throw new ArgumentException($"{name}.{nameof(OriginalContextLength)} is {OriginalContextLength}; expected at least 1 token", name);
    }
}
