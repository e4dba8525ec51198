namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes LongRoPE (arXiv 2402.13753), which divides every frequency by a separate factor: by <see cref="ShortFactors"/> if the longest row
/// has at most <see cref="OriginalContextLength"/> tokens, and by <see cref="LongFactors"/> otherwise.
/// </summary>
/// <remarks>
/// All tokens of one pass get the factors of its length. Keys in a cache keep the factors of the pass that wrote them, as in Hugging Face
/// Transformers. A row that grows beyond the original context length while it is decoded therefore differs from one pass over the same tokens.
/// </remarks>
public sealed record LongRotaryScaling : RotaryScaling
{
    /// <summary>Gets or sets the factors of short rows, one per rotated pair of channels.</summary>
    public required IReadOnlyList<double> ShortFactors { get; init; }

    /// <summary>Gets or sets the factors of long rows, one per rotated pair of channels.</summary>
    public required IReadOnlyList<double> LongFactors { get; init; }

    /// <summary>Gets or sets the original context length in tokens.</summary>
    public required int OriginalContextLength { get; init; }

    /// <summary>Gets or sets the multiplier of cosines and sines. The default is 1.</summary>
    public double AttentionFactor { get; init; } = 1;

    /// <inheritdoc/>
    public override double Amplitude => AttentionFactor;

    /// <inheritdoc/>
    public override bool DependsOnLength => true;

    internal override void Apply(Span<double> frequencies, int rotaryDimensions, double theta, long length)
    {
        var factors = length > OriginalContextLength ? LongFactors : ShortFactors;
        for (int j = 0; j < frequencies.Length; j++) frequencies[j] /= factors[j];
    }

    internal override void Check(string name, int rotaryDimensions)
    {
        CheckFactors(ShortFactors, nameof(ShortFactors), name, (rotaryDimensions + 1) / 2);
        CheckFactors(LongFactors, nameof(LongFactors), name, (rotaryDimensions + 1) / 2);
        CheckLength(OriginalContextLength, name);
        CheckAmplitude(AttentionFactor, name);
    }

    static void CheckFactors(IReadOnlyList<double>? factors, string property, string name, int count)
    {
        Expect(factors is not null && factors.Count == count, name, factors is null ? null : $"a list of {factors.Count}",
            $"{count} factors, one per rotated pair of channels", property);
        foreach (double factor in factors!) Expect(double.IsFinite(factor) && factor > 0, name, factor, "finite numbers above 0", property);
    }

    /// <summary>Returns whether all numbers are equal.</summary>
    public bool Equals(LongRotaryScaling? other) => other is not null && OriginalContextLength == other.OriginalContextLength
        && AttentionFactor == other.AttentionFactor && ShortFactors.SequenceEqual(other.ShortFactors) && LongFactors.SequenceEqual(other.LongFactors);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (double factor in ShortFactors.Concat(LongFactors)) hash.Add(factor);
        return HashCode.Combine(hash.ToHashCode(), OriginalContextLength, AttentionFactor);
    }
}
