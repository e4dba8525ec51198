using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>Rotary position embedding (arXiv 2104.09864) in the half-split layout of Llama.</summary>
public sealed record RotarySpec
{
    /// <summary>Stands for "no positions" where a builder argument left out means the default rotary embedding.</summary>
    public static RotarySpec None { get; } = new() { Fraction = 0 };

    /// <summary>Base of the geometric series of wavelengths.</summary>
    public double Theta { get; init; } = 500_000;

    /// <summary>Which part of each head is rotated, the first dimensions; the rest passes through.</summary>
    public double Fraction { get; init; } = 1;

    /// <summary>Llama 3's stretch of the long wavelengths, if any.</summary>
    public Llama3RotaryScaling? Scaling { get; init; }

    /// <summary>What the wavelengths of a head of this size are spread over: size times <see cref="Fraction"/>, rounded down as Hugging Face's models do. One dimension more is rotated where it is odd.</summary>
    public int Dimensions(int headSize) => (int)(headSize * Fraction);

    internal void Check(int headSize)
    {
        Require.Positive(Theta, "theta");
        Require.That(Fraction is > 0 and <= 1, "fraction", Fraction, "a number above 0 and at most 1");
        int rotated = Dimensions(headSize);
        Require.That(rotated > 0 && rotated + rotated % 2 <= headSize, "headSize", headSize,
            FormattableString.Invariant($"a size with room for the pairs that rotary fraction {Fraction} takes of it, {rotated} dimensions in pairs"));
        if (Scaling is null) return;
        Require.That(double.IsFinite(Scaling.Factor) && Scaling.Factor >= 1, "scaling.factor", Scaling.Factor, "a finite number of at least 1");
        Require.Positive(Scaling.LowFrequencyFactor, "scaling.lowFrequencyFactor");
        Require.That(double.IsFinite(Scaling.HighFrequencyFactor) && Scaling.HighFrequencyFactor > Scaling.LowFrequencyFactor,
            "scaling.highFrequencyFactor", Scaling.HighFrequencyFactor,
            FormattableString.Invariant($"a finite number above lowFrequencyFactor = {Scaling.LowFrequencyFactor}"));
        Require.AtLeast(Scaling.OriginalContextLength, 1, "scaling.originalContextLength");
    }
}
