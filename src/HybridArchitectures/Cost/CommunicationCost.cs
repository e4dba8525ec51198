using System.Globalization;
using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>
/// Contains the cost of the communication of a training step over ranks. The replicated strategy sums the gradients; the cost is the same if the
/// state of the optimizer is divided. The fully sharded and the hybrid strategy also gather parameters.
/// </summary>
/// <remarks>
/// A ring of N ranks sends 2 (N - 1) / N times the gradients (4 bytes per parameter) from every rank, in 2 (N - 1) steps (Patarasuk and Yuan 2009,
/// "Bandwidth optimal all-reduce algorithms for clusters of workstations"). The time is an estimate: libraries reach a part of the bandwidth, and use
/// trees with fewer steps for many ranks. Gathering parameters and dividing sums of gradients take half of an all-reduce each.
/// </remarks>
/// <param name="Ranks">The number of ranks, one GPU each.</param>
/// <param name="Bytes">The bytes that every rank sends per step.</param>
/// <param name="Seconds">The time of the communication of a step in seconds.</param>
/// <param name="ComputeSeconds">The time of the computation of a step in seconds.</param>
public sealed record CommunicationCost(int Ranks, double Bytes, double Seconds, double ComputeSeconds)
{
    /// <summary>
    /// Gets or sets the time in seconds during which the communication can run at the same time as computation: for replicated parameters the
    /// backward pass, which is two thirds of a step in one pass, and otherwise the whole step.
    /// </summary>
    public double OverlapSeconds { get; init; }

    /// <summary>
    /// Gets the speed of all ranks as a fraction of their number times the speed of one, if no communication overlaps with computation.
    /// </summary>
    public double Efficiency => ComputeSeconds / (ComputeSeconds + Seconds);

    /// <summary>Gets the same fraction if all communication that can overlap with computation does so without slowing it.</summary>
    public double OverlappedEfficiency => ComputeSeconds / (ComputeSeconds + Math.Max(0, Seconds - OverlapSeconds));

    /// <summary>Returns bytes, times and efficiency as text.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Units.Bytes(Bytes)} sent per rank and step in {Units.Seconds(Seconds)}, computation {Units.Seconds(ComputeSeconds)}, "
        + $"efficiency {Efficiency:0.000} on {Ranks} ranks ({OverlappedEfficiency:0.000} with overlap)");

    /// <summary>Returns the cost for a design with replicated parameters, with or without a sharded optimizer.</summary>
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
        double bytes = 2 * Share(ranks) * BytesPerParameter * ParameterCount.FromDesign(design).Total;
        double compute = Compute(design, length, tokensPerRank, flopsPerSecond);
        return new(ranks, bytes, bytes / link.Bandwidth + 2.0 * (ranks - 1) * link.Latency, compute) { OverlapSeconds = compute * 2 / 3 };
    }

    const double BytesPerParameter = 4;

    // of a gather or a divided sum over a ring, in units of the complete tensor
    static double Share(int ranks) => (ranks - 1.0) / ranks;

    static double Compute(HybridDesign design, int length, long tokensPerRank, double flopsPerSecond) =>
        tokensPerRank * FlopCount.OfText(design, length, FlopAccounting.MatrixProducts).Training / flopsPerSecond;

    /// <summary>
    /// Returns the cost for a design with fully sharded parameters. Every pass gathers the parameters of each block in float32 before its forward and
    /// before its backward pass (those of the last block once) and divides the sums of its gradients. The other parameters are gathered, and their
    /// gradients summed, once per step.
    /// </summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="length">The context length in tokens.</param>
    /// <param name="ranks">The number of ranks.</param>
    /// <param name="link">The connection at the narrowest place between the ranks.</param>
    /// <param name="tokensPerRank">The tokens of a step that one rank computes.</param>
    /// <param name="passes">The number of passes of a step on one rank. The default is 1.</param>
    /// <param name="flopsPerSecond">The FLOPs per second that a GPU reaches in training, as for replicated parameters.</param>
    /// <exception cref="ArgumentException">A number is out of range, or a model of the design is not possible.</exception>
    public static CommunicationCost FullySharded(
        HybridDesign design, int length, int ranks, Interconnect link, long tokensPerRank, int passes = 1, double flopsPerSecond = 5.3e14)
    {
        Require.AtLeast(passes, 1, nameof(passes));
        var replicated = FromDesign(design, length, ranks, link, tokensPerRank, flopsPerSecond);        // checks the arguments
        var (bytes, operations) = Sharded(design, ranks, passes);
        return new(ranks, bytes, bytes / link.Bandwidth + operations * (ranks - 1.0) * link.Latency, replicated.ComputeSeconds)
        {
            OverlapSeconds = replicated.ComputeSeconds,
        };
    }

    /// <summary>
    /// Returns the cost for a design whose parameters are fully sharded within every machine. At the end of a step, the gradients of the shares are
    /// summed over the machines; the ranks of a machine use the connection of the machines together.
    /// </summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="length">The context length in tokens.</param>
    /// <param name="machines">The number of machines.</param>
    /// <param name="ranksPerMachine">The number of ranks of one machine.</param>
    /// <param name="within">The connection of the ranks of a machine.</param>
    /// <param name="between">The connection of the machines, with the bandwidth of all network adapters of one machine.</param>
    /// <param name="tokensPerRank">The tokens of a step that one rank computes.</param>
    /// <param name="passes">The number of passes of a step on one rank. The default is 1.</param>
    /// <param name="flopsPerSecond">The FLOPs per second that a GPU reaches in training, as for replicated parameters.</param>
    /// <returns>The cost. The bytes are those that a rank sends on both connections.</returns>
    /// <exception cref="ArgumentException">A number is out of range, or a model of the design is not possible.</exception>
    public static CommunicationCost Hybrid(HybridDesign design, int length, int machines, int ranksPerMachine, Interconnect within,
        Interconnect between, long tokensPerRank, int passes = 1, double flopsPerSecond = 5.3e14)
    {
        Require.AtLeast(machines, 1, nameof(machines));
        Require.AtLeast(ranksPerMachine, 1, nameof(ranksPerMachine));
        var outer = FromDesign(design, length, machines, between, tokensPerRank, flopsPerSecond);
        var inner = FullySharded(design, length, ranksPerMachine, within, tokensPerRank, passes, flopsPerSecond);
        return new(machines * ranksPerMachine, inner.Bytes + outer.Bytes / ranksPerMachine, inner.Seconds + outer.Seconds, inner.ComputeSeconds)
        {
            OverlapSeconds = inner.OverlapSeconds,
        };
    }

    static (double Bytes, double Operations) Sharded(HybridDesign design, int ranks, int passes)
    {
        var count = ParameterCount.FromDesign(design);
        double blocks = count.Blocks.Sum(block => (double)block.Total), rest = count.Total - blocks;
        double perPass = 3 * blocks - (count.Blocks.Count > 0 ? count.Blocks[^1].Total : 0);
        return (Share(ranks) * BytesPerParameter * (passes * perPass + 2 * rest), passes * Math.Max(0, 3.0 * count.Blocks.Count - 1) + 2);
    }
}
