namespace HybridArchitectures.Kernels;

/// <summary>
/// Increases the rotary base with the length L of the longest row, once L exceeds the original context length O ("dynamic" NTK scaling): the base is
/// multiplied by (f L / O - (f - 1))^(R / (R - 2)), with the factor f and R rotated channels.
/// </summary>
/// <remarks>
/// All tokens of one pass get the frequencies of its length. Keys in a cache keep the frequencies of the pass that wrote them, as in Hugging Face
/// Transformers. Beyond the original context length, decoding with a cache therefore differs from one pass over the same tokens.
/// </remarks>
/// <param name="Factor">The factor f, at least 1.</param>
/// <param name="OriginalContextLength">The original context length O in tokens.</param>
public sealed record DynamicRotaryScaling(double Factor, int OriginalContextLength) : RotaryScaling
{
    /// <inheritdoc/>
    public override bool DependsOnLength => true;

    internal override void Apply(Span<double> frequencies, int rotaryDimensions, double theta, long length)
    {
        if (length <= OriginalContextLength) return;
        double growth = Factor * length / OriginalContextLength - (Factor - 1);
        double larger = theta * Math.Pow(growth, rotaryDimensions / (rotaryDimensions - 2.0));
        for (int j = 0; j < frequencies.Length; j++) frequencies[j] = Math.Pow(larger, -2.0 * j / rotaryDimensions);
    }

    internal override void Check(string name, int rotaryDimensions)
    {
        CheckFactor(Factor, name);
        CheckLength(OriginalContextLength, name);
        if (rotaryDimensions <= 2)
            throw Require.Unfit(name, $"{name} is dynamic with {rotaryDimensions} rotated channels", "at least 3 channels");
    }
}
