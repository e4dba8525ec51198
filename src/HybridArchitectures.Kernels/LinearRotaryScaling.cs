namespace HybridArchitectures.Kernels;

/// <summary>Divides all rotary frequencies by a factor, which is position interpolation (arXiv 2306.15595).</summary>
/// <param name="Factor">The factor, at least 1.</param>
public sealed record LinearRotaryScaling(double Factor) : RotaryScaling
{
    internal override void Apply(Span<double> frequencies, int rotaryDimensions, double theta, long length)
    {
        foreach (ref double frequency in frequencies) frequency /= Factor;
    }

    internal override void Check(string name, int rotaryDimensions) => CheckFactor(Factor, name);
}
