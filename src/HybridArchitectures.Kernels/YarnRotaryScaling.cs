namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes YaRN (arXiv 2309.00071). Waves that turn at least <see cref="FastTurns"/> times in the original context do not change. Waves that turn
/// at most <see cref="SlowTurns"/> times are slowed by <see cref="Factor"/>. The channels between them are blended linearly in their index.
/// </summary>
public sealed record YarnRotaryScaling : RotaryScaling
{
    /// <summary>Gets or sets the factor of slow waves, at least 1.</summary>
    public required double Factor { get; init; }

    /// <summary>Gets or sets the original context length in tokens.</summary>
    public required int OriginalContextLength { get; init; }

    /// <summary>Gets or sets the number of turns from which waves do not change (<c>beta_fast</c>). The default is 32.</summary>
    public double FastTurns { get; init; } = 32;

    /// <summary>Gets or sets the number of turns up to which waves are slowed completely (<c>beta_slow</c>). The default is 1.</summary>
    public double SlowTurns { get; init; } = 1;

    /// <summary>Gets or sets whether the ends of the blended range are rounded to whole channels, outwards. The default is true.</summary>
    public bool Truncate { get; init; } = true;

    /// <summary>Gets or sets the multiplier of cosines and sines. The default, null, means 0.1 ln(<see cref="Factor"/>) + 1.</summary>
    public double? AttentionFactor { get; init; }

    /// <inheritdoc/>
    public override double Amplitude => AttentionFactor ?? MagnitudeScale(Factor, 1);

    /// <summary>Returns 0.1 m ln(s) + 1, or 1 for a factor s of at most 1.</summary>
    internal static double MagnitudeScale(double factor, double multiplier) => factor <= 1 ? 1 : 0.1 * multiplier * Math.Log(factor) + 1;

    internal override void Apply(Span<double> frequencies, int rotaryDimensions, double theta, long length)
    {
        // the index of the channel pair whose wave turns this number of times in the original context
        double Channel(double turns) => rotaryDimensions * Math.Log(OriginalContextLength / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
        double first = Channel(FastTurns), last = Channel(SlowTurns);
        if (Truncate) (first, last) = (Math.Floor(first), Math.Ceiling(last));
        first = Math.Max(first, 0);
        last = Math.Min(last, rotaryDimensions - 1);
        if (first == last) last += 0.001;
        for (int j = 0; j < frequencies.Length; j++)
        {
            double slowed = Math.Clamp((j - first) / (last - first), 0, 1);
            frequencies[j] = frequencies[j] / Factor * slowed + frequencies[j] * (1 - slowed);
        }
    }

    internal override void Check(string name, int rotaryDimensions)
    {
        CheckFactor(Factor, name);
        CheckLength(OriginalContextLength, name);
        Expect(double.IsFinite(SlowTurns) && SlowTurns > 0, name, SlowTurns, "a finite number above 0");
        Expect(double.IsFinite(FastTurns) && FastTurns > SlowTurns, name, FastTurns,
            FormattableString.Invariant($"a finite number above slowTurns = {SlowTurns}"));
        CheckAmplitude(AttentionFactor, name);
    }
}
