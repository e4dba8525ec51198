namespace HybridArchitectures.Kernels;

/// <summary>
/// Rotates the first part of the channel pairs, with frequencies that are distributed over the whole head, and divides them by a factor
/// ("proportional" in configurations). The other pairs have the frequency 0. <c>RotarySpec.Fraction</c> must be 1.
/// </summary>
/// <param name="Factor">The factor, at least 1.</param>
/// <param name="Fraction">The part of the pairs that is rotated, above 0 and at most 1. The number of pairs is rounded down.</param>
public sealed record ProportionalRotaryScaling(double Factor, double Fraction) : RotaryScaling
{
    internal override void Apply(Span<double> frequencies, int rotaryDimensions, double theta, long length)
    {
        int rotated = (int)Math.Floor(Fraction * rotaryDimensions / 2);
        for (int j = 0; j < frequencies.Length; j++) frequencies[j] = j < rotated ? frequencies[j] / Factor : 0;
    }

    internal override void Check(string name, int rotaryDimensions)
    {
        CheckFactor(Factor, name);
        Expect(Fraction is > 0 and <= 1, name, Fraction, "a number above 0 and at most 1");
    }
}
