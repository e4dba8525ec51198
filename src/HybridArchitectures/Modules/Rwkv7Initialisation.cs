using HybridArchitectures.Design;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the vectors with which a layer of RWKV-7 starts, as the training code of its authors sets them: later layers look less at the
/// previous token, and the channels of a head forget at different speeds.
/// </summary>
/// <param name="spec">The layer.</param>
/// <param name="width">The width of the model.</param>
/// <param name="position">The number of the block, from 1; 0 outside blocks.</param>
/// <param name="depth">The number of blocks.</param>
sealed class Rwkv7Initialisation(Rwkv7Spec spec, int width, int position, int depth)
{
    readonly int layer = Math.Max(0, position - 1);

    // 0 in the first block and 1 in the last
    double Rise => depth > 1 ? (double)layer / (depth - 1) : 0;

    // 1 in the first block and almost 0 in the last
    double Fall => 1 - (double)layer / Math.Max(1, depth);

    public double NormWeight => Math.Pow((layer + 1.0) / Math.Max(layer + 1, depth), 0.7);

    /// <summary>Returns the shares of the previous token: query, decay, key, value, rate and gate, each for all channels.</summary>
    public float[] Mixes()
    {
        double[] exponents = [0.2, 0.9, 0.7, 0.7, 0.9, 0.2];
        return [.. exponents.SelectMany(exponent =>
            Enumerable.Range(0, width).Select(channel => (float)(1 - Math.Pow((double)channel / width, exponent * Fall))))];
    }

    /// <summary>Returns the shares of the previous token in a feed-forward.</summary>
    public static float[] FeedForwardMix(int width, int position, int depth)
    {
        double exponent = Math.Pow(1 - (double)Math.Max(0, position - 1) / Math.Max(1, depth), 4);
        return [.. Enumerable.Range(0, width).Select(channel => (float)(1 - Math.Pow((double)channel / width, exponent)))];
    }

    public float[] DecayBias()
    {
        double exponent = 1 + Math.Pow(Rise, 0.3);
        return Channels(channel => -5.5 + 6 * Math.Pow(Share(channel), exponent) + 2.5 * Zigzag(channel));
    }

    public float[] RateBias() => Channels(channel => -0.19 + 0.3 * Zigzag(channel) + 0.4 * (Share(channel) - 0.5));

    public float[] ValueBias() => Channels(channel => 0.73 - 0.4 * (Share(channel) - 0.5));

    public float[] RemovalScale() => Channels(channel => 0.71 - 0.1 * (Share(channel) - 0.5));

    float[] Channels(Func<int, double> value) => [.. Enumerable.Range(0, spec.InnerWidth).Select(channel => (float)value(channel))];

    double Share(int channel) => channel / Math.Max(1.0, spec.InnerWidth - 1);

    // from -1 to 1 within each head, flat in the middle
    double Zigzag(int channel)
    {
        if (spec.HeadSize == 1) return 0;
        double middle = (spec.HeadSize - 1) / 2.0, distance = (channel % spec.HeadSize - middle) / middle;
        return distance * Math.Abs(distance);
    }
}
