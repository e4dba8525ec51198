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
/// <param name="Accelerator">The accelerator.</param>
public sealed record DecodeCost(double WeightBytes, double CacheBytes, Accelerator Accelerator)
{
    /// <summary>Gets the bytes of a step.</summary>
    public double Bytes => WeightBytes + CacheBytes;

    /// <summary>Gets the minimum time of a step in seconds: bytes divided by bandwidth.</summary>
    public double Seconds => Bytes / Accelerator.Bandwidth;

    /// <summary>Returns bytes and time as text, for example <c>2.29 GiB (weights 2.23 GiB, cache 62.6 MiB), at least 0.51 ms on H200</c>.</summary>
    public override string ToString() =>
        $"{Units.Bytes(Bytes)} (weights {Units.Bytes(WeightBytes)}, cache {Units.Bytes(CacheBytes)}), at least {Units.Seconds(Seconds)} on {Accelerator.Name}";

    /// <summary>Returns the cost of a step of all rows of a batch, each after <paramref name="position"/> tokens.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="position">The number of tokens in the cache.</param>
    /// <param name="accelerator">The accelerator.</param>
    /// <param name="batch">The number of rows. The default is 1.</param>
    /// <param name="elementSize">The bytes per weight and per activation. The default is 2.</param>
    /// <exception cref="ArgumentException">A number is out of range, or a model of the design is not possible.</exception>
    public static DecodeCost FromDesign(HybridDesign design, long position, Accelerator accelerator, long batch = 1, int elementSize = 2)
    {
        ArgumentNullException.ThrowIfNull(accelerator);
        Require.Positive(accelerator.Bandwidth, "bandwidth");
        var cache = CacheSize.FromDesign(design, position + 1, batch, elementSize);
        var parameters = ParameterCount.FromDesign(design);
        double weights = parameters.NonEmbedding - design.Blocks.Sum(block => Idle(block.FeedForward, design.Width, batch));
        // the head reads its whole table; the embedding reads one row per token, which a tied head has read already
        weights += (double)design.Width * design.VocabularySize + (design.TiedHead ? 0 : (double)design.Width * batch);
        // attention writes one slot, and a state-space layer its whole state; a window reads no more than it has seen
        double slots = design.Blocks.Sum(block => Seen(block.Mixer, position + 1) + Seen(design.SharedAttention(block), position + 1)) * (double)batch * elementSize;
        return new(weights * elementSize, slots + 2.0 * (cache.Convolutions + cache.Scans) + cache.Other, accelerator);
    }

    static double Idle(FeedForwardSpec feedForward, int width, long batch) => feedForward is MixtureOfExpertsSpec experts
        ? (double)experts.ExpertParameters(width) * experts.Experts * Math.Pow(1 - (double)experts.ExpertsPerToken / experts.Experts, batch)
        : 0;

    static double Seen(MixerSpec? mixer, long length) => mixer switch
    {
        AttentionSpec attention => Math.Min(length, VisibleKeys.Span(attention)) * ((double)attention.KeyWidth + attention.ValueWidth),
        IntraHybridSpec intra => Seen(intra.Attention, length),
        _ => 0,
    };
}
