using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>What one decoding step must read and write, and how long that takes at a card's full bandwidth: a bound from below, which no program beats.</summary>
/// <param name="WeightBytes">Parameters read; of routed experts as many as a batch visits on average, each choosing evenly and by itself.</param>
/// <param name="CacheBytes">Cache read, and states written back.</param>
/// <param name="Accelerator">The card.</param>
public sealed record DecodeCost(double WeightBytes, double CacheBytes, Accelerator Accelerator)
{
    /// <summary>All bytes of a step.</summary>
    public double Bytes => WeightBytes + CacheBytes;

    /// <summary>Seconds of a step: bytes over bandwidth.</summary>
    public double Seconds => Bytes / Accelerator.Bandwidth;

    /// <summary>Bytes and time, such as <c>2.29 GiB (weights 2.23 GiB, cache 62.6 MiB), at least 0.51 ms on H200</c>.</summary>
    public override string ToString() =>
        $"{Units.Bytes(Bytes)} (weights {Units.Bytes(WeightBytes)}, cache {Units.Bytes(CacheBytes)}), at least {Units.Seconds(Seconds)} on {Accelerator.Name}";

    /// <summary>A step of all rows of a batch, each with <paramref name="position"/> tokens before it.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="position">Tokens in the cache.</param>
    /// <param name="accelerator">The accelerator.</param>
    /// <param name="batch">Rows.</param>
    /// <param name="elementSize">Bytes of a weight and of an activation.</param>
    /// <exception cref="ArgumentException">A number is out of range, or no model can be made of the design.</exception>
    public static DecodeCost FromDesign(HybridDesign design, long position, Accelerator accelerator, long batch = 1, int elementSize = 2)
    {
        ArgumentNullException.ThrowIfNull(accelerator);
        Require.Positive(accelerator.Bandwidth, "bandwidth");
        var cache = CacheSize.FromDesign(design, position + 1, batch, elementSize);
        var parameters = ParameterCount.FromDesign(design);
        double weights = parameters.NonEmbedding - design.Blocks.Sum(block => Idle(block.FeedForward, design.Width, batch));
        // the head reads its whole table; the embedding only a row a token, which the tied head has read
        weights += (double)design.Width * design.VocabularySize + (design.TiedHead ? 0 : (double)design.Width * batch);
        // attention writes one slot, a state-space layer its whole state; a window reads no more than it has seen
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
