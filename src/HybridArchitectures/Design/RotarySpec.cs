using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>Describes rotary position embeddings (arXiv 2104.09864) in the half-split layout of Llama.</summary>
public sealed record RotarySpec
{
    /// <summary>Gets the value that means "no positions" for builder methods, where null means the default rotary positions.</summary>
    public static RotarySpec None { get; } = new() { Fraction = 0 };

    /// <summary>Gets or sets theta, the base of the geometric series of wavelengths. The default is 500,000.</summary>
    public double Theta { get; init; } = 500_000;

    /// <summary>Gets or sets the fraction of each head that is rotated. It consists of the first dimensions. The default is 1.</summary>
    public double Fraction { get; init; } = 1;

    /// <summary>Gets or sets the scaling of the frequencies for long contexts. The default, null, means none.</summary>
    public RotaryScaling? Scaling { get; init; }

    /// <summary>
    /// Returns the number of dimensions over which the wavelengths are distributed: the head size times <see cref="Fraction"/>, rounded down as in
    /// Hugging Face Transformers. If the number is odd, one more dimension is rotated.
    /// </summary>
    public int Dimensions(int headSize) => (int)(headSize * Fraction);

    internal void Check(int headSize)
    {
        Require.Positive(Theta, "theta");
        Require.That(Fraction is > 0 and <= 1, "fraction", Fraction, "a number above 0 and at most 1");
        int rotated = Dimensions(headSize);
        string expected = FormattableString.Invariant(
            $"a size with room for the pairs that rotary fraction {Fraction} takes of it, {rotated} dimensions in pairs");
        Require.That(rotated > 0 && rotated + rotated % 2 <= headSize, "headSize", headSize, expected);
        Require.That(Scaling is not ProportionalRotaryScaling || Fraction == 1, "fraction", Fraction,
            "1 with a proportional scaling, which has its own fraction");
        Scaling?.Check("scaling", rotated);
    }
}
