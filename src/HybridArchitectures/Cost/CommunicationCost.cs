using System.Globalization;
using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>
/// Contains the cost of summing the gradients of a training step over ranks, each of which has the whole model. The sums follow the backward pass
/// without overlap. The cost is the same if the state of the optimizer is divided over the ranks.
/// </summary>
/// <remarks>
/// A ring of N ranks sends 2 (N - 1) / N times the gradients (4 bytes per parameter) from every rank, in 2 (N - 1) steps (Patarasuk and Yuan 2009,
/// "Bandwidth optimal all-reduce algorithms for clusters of workstations"). The time is an estimate: libraries reach a part of the bandwidth, and use
/// trees with fewer steps for many ranks.
/// </remarks>
/// <param name="Ranks">The number of ranks, one GPU each.</param>
/// <param name="Bytes">The bytes that every rank sends per step.</param>
/// <param name="Seconds">The time of the communication of a step in seconds.</param>
/// <param name="ComputeSeconds">The time of the computation of a step in seconds.</param>
public sealed record CommunicationCost(int Ranks, double Bytes, double Seconds, double ComputeSeconds)
{
    /// <summary>Gets the speed of all ranks as a fraction of their number times the speed of one.</summary>
    public double Efficiency => ComputeSeconds / (ComputeSeconds + Seconds);

    /// <summary>Returns bytes, times and efficiency as text.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Units.Bytes(Bytes)} sent per rank and step in {Units.Seconds(Seconds)}, computation {Units.Seconds(ComputeSeconds)}, "
        + $"efficiency {Efficiency:0.000} on {Ranks} ranks");

    /// <summary>Returns the cost for a design.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="length">The context length in tokens.</param>
    /// <param name="ranks">The number of ranks.</param>
    /// <param name="link">The connection at the narrowest place between the ranks.</param>
    /// <param name="tokensPerRank">The tokens of a step that one rank computes.</param>
    /// <param name="flopsPerSecond">
    /// The FLOPs per second that a GPU reaches in training, counted as matrix products with the head. The default, 5.3e14, is what one H200
    /// reached in bfloat16 with the recipes 1B-llama and 1B-inter-1:5 at a context of 8192.
    /// </param>
    /// <exception cref="ArgumentException">A number is out of range, or a model of the design is not possible.</exception>
    public static CommunicationCost FromDesign(
        HybridDesign design, int length, int ranks, Interconnect link, long tokensPerRank, double flopsPerSecond = 5.3e14)
    {
        ArgumentNullException.ThrowIfNull(link);
        Require.AtLeast(ranks, 1, nameof(ranks));
        Require.AtLeast(tokensPerRank, 1, nameof(tokensPerRank));
        Require.Positive(flopsPerSecond, nameof(flopsPerSecond));
        Require.Positive(link.Bandwidth, "bandwidth");
        Require.NotNegative(link.Latency, "latency");
        double bytes = 2.0 * (ranks - 1) / ranks * 4 * ParameterCount.FromDesign(design).Total;
        double compute = tokensPerRank * FlopCount.OfText(design, length, FlopAccounting.MatrixProducts).Training / flopsPerSecond;
        return new(ranks, bytes, bytes / link.Bandwidth + 2.0 * (ranks - 1) * link.Latency, compute);
    }
}
