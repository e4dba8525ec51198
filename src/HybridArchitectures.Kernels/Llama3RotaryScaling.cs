namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes how Llama 3.1 and later scale rotary frequencies for contexts longer than in the first training ("llama3" in configurations). Waves
/// longer than <paramref name="OriginalContextLength"/> / <paramref name="LowFrequencyFactor"/> tokens are slowed by <paramref name="Factor"/>, waves
/// shorter than <paramref name="OriginalContextLength"/> / <paramref name="HighFrequencyFactor"/> do not change, and waves between them are blended
/// linearly in frequency.
/// </summary>
/// <param name="Factor">The factor of slow waves (<c>factor</c>), for example 32 in Llama 3.2, at least 1.</param>
/// <param name="LowFrequencyFactor">The setting <c>low_freq_factor</c>, for example 1, above 0.</param>
/// <param name="HighFrequencyFactor">The setting <c>high_freq_factor</c>, for example 4, above the low one.</param>
/// <param name="OriginalContextLength">The setting <c>original_max_position_embeddings</c> in tokens, for example 8192.</param>
public sealed record Llama3RotaryScaling(double Factor, double LowFrequencyFactor, double HighFrequencyFactor, int OriginalContextLength)
    : RotaryScaling
{
    internal override void Apply(Span<double> frequencies, int rotaryDimensions, double theta, long length)
    {
        foreach (ref double frequency in frequencies) frequency = Scaled(frequency);
    }

    double Scaled(double frequency)
    {
        double turns = OriginalContextLength * frequency / (2 * Math.PI);        // of this wave in the original context
        if (turns < LowFrequencyFactor) return frequency / Factor;
        if (turns > HighFrequencyFactor) return frequency;
        double kept = (turns - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor);
        return (1 - kept) * frequency / Factor + kept * frequency;
    }

    internal override void Check(string name, int rotaryDimensions)
    {
        CheckFactor(Factor, name);
        Expect(double.IsFinite(LowFrequencyFactor) && LowFrequencyFactor > 0, name, LowFrequencyFactor, "a finite number above 0");
        Expect(double.IsFinite(HighFrequencyFactor) && HighFrequencyFactor > LowFrequencyFactor, name, HighFrequencyFactor,
            FormattableString.Invariant($"a finite number above lowFrequencyFactor = {LowFrequencyFactor}"));
        CheckLength(OriginalContextLength, name);
    }
}
