using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>
/// Contains the bytes that one decoding step must read and write, and the time that this takes at the full bandwidth of an accelerator. The time is a
/// lower bound.
/// </summary>
/// <param name="WeightBytes">
/// The bytes of parameters that are read. For routed experts, it is the mean number that a batch uses if each row selects experts uniformly.
/// </param>
/// <param name="CacheBytes">The bytes of the cache that are read, and of states that are written.</param>
/// <param name="Accelerator">The accelerator on which decoding runs.</param>
public sealed record DecodeCost(double WeightBytes, double CacheBytes, Accelerator Accelerator)
{
    /// <summary>Gets the bytes of a step.</summary>
    public double Bytes => WeightBytes + CacheBytes;

    /// <summary>Gets the minimum time of a step in seconds: bytes divided by bandwidth.</summary>
    public double Seconds => Bytes / Accelerator.Bandwidth;

    /// <summary>Returns bytes and time as text, for example <c>2.29 GiB (weights 2.23 GiB, cache 62.6 MiB), at least 0.51 ms on H200</c>.</summary>
    public override string ToString() =>
        $"{Units.Bytes(Bytes)} (weights {Units.Bytes(WeightBytes)}, cache {Units.Bytes(CacheBytes)}), at least {Units.Seconds(Seconds)} on "
            + $"{Accelerator.Name}";

    /// <summary>Returns the cost of a step of all rows of a batch, each after <paramref name="position"/> tokens.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="position">The number of tokens in the cache.</param>
    /// <param name="accelerator">The accelerator.</param>
    /// <param name="batch">The number of rows. The default is 1.</param>
    /// <param name="elementSize">The bytes per weight and per activation. The default is 2.</param>
    /// <param name="stateSize">
    /// The bytes per number of recurrent states: 2 for bfloat16 states, 4 for float32 states. The default, null, means 4, or 8 with float64
    /// activations.
    /// </param>
    /// <exception cref="ArgumentException">
    /// A number is out of range, a model of the design is not possible, or a layer cannot store bfloat16 states.
    /// </exception>
    public static DecodeCost FromDesign(
        HybridDesign design, long position, Accelerator accelerator, long batch = 1, int elementSize = 2, int? stateSize = null)
    {
        ArgumentNullException.ThrowIfNull(accelerator);
        Require.Positive(accelerator.Bandwidth, "bandwidth");
        Require.AtLeast(position, 0, nameof(position));
        Require.AtLeast(batch, 1, nameof(batch));
        Require.That(elementSize is 1 or 2 or 4 or 8, nameof(elementSize), elementSize, "1, 2, 4 or 8 bytes");
        var parameters = ParameterCount.FromDesign(design);
        double weights = parameters.NonEmbedding - design.Blocks.Sum(block => Idle(block.FeedForward, design.Width, batch));
        // the head reads its whole table; the embedding reads one row per token, which a tied head has read already
        weights += (double)design.Width * design.VocabularySize + (design.TiedHead ? 0 : (double)design.Width * batch);
        // states are read and written
        double share = (double)CacheSize.StateSize(design, elementSize, stateSize) / MixerCache.ScanElement(elementSize);
        double cache = batch * design.Blocks.Sum(block => Traffic(block.Mixer) + Traffic(design.SharedAttention(block)));
        return new(weights * elementSize, cache, accelerator);

        double Traffic(MixerSpec? mixer) => mixer is null ? 0 : mixer.CountStepTraffic(design.Width, position + 1, elementSize)
            - 2 * (1 - share) * mixer.CountCache(design.Width, position + 1, elementSize).Scans;
    }

    static double Idle(FeedForwardSpec feedForward, int width, long batch) => feedForward is MixtureOfExpertsSpec experts
        ? (double)experts.ExpertParameters(width) * experts.Experts * Math.Pow(1 - (double)experts.ExpertsPerToken / experts.Experts, batch)
        : 0;
}
