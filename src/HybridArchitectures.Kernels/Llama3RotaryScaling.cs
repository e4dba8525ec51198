namespace HybridArchitectures.Kernels;

/// <summary>
/// How Llama 3.1 and later stretch rotary frequencies to contexts longer than they were first trained for ("llama3" in their configurations): waves longer than
/// <paramref name="OriginalContextLength"/> / <paramref name="LowFrequencyFactor"/> tokens are slowed by <paramref name="Factor"/>, waves shorter than
/// <paramref name="OriginalContextLength"/> / <paramref name="HighFrequencyFactor"/> stay, and those between are blended linearly in frequency.
/// </summary>
/// <param name="Factor">By how much slow waves are stretched (<c>factor</c>), such as 32 in Llama 3.2; at least 1.</param>
/// <param name="LowFrequencyFactor"><c>low_freq_factor</c>, such as 1; above 0.</param>
/// <param name="HighFrequencyFactor"><c>high_freq_factor</c>, such as 4; above the low one.</param>
/// <param name="OriginalContextLength"><c>original_max_position_embeddings</c> in tokens, such as 8192.</param>
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
        if (!(Factor >= 1) || double.IsInfinity(Factor)) throw new ArgumentException($"{name}.{nameof(Factor)} is {Factor}; expected a finite number of at least 1", name);
        if (!(LowFrequencyFactor > 0)) throw new ArgumentException($"{name}.{nameof(LowFrequencyFactor)} is {LowFrequencyFactor}; expected a number above 0", name);
        if (!(HighFrequencyFactor > LowFrequencyFactor) || double.IsInfinity(HighFrequencyFactor))
            throw new ArgumentException($"{name}.{nameof(HighFrequencyFactor)} is {HighFrequencyFactor}; expected a finite number above the low factor, {LowFrequencyFactor}", name);
        if (OriginalContextLength < 1) throw new ArgumentException($"{name}.{nameof(OriginalContextLength)} is {OriginalContextLength}; expected at least 1 token", name);
    }
}
