using System.Globalization;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains the settings of <see cref="ModelInspection"/>.</summary>
public sealed record InspectionOptions
{
    /// <summary>
    /// Gets or sets the share of its original weight below which a token no longer counts as part of a state, in (0, 1). The default is 1/e, about
    /// 0.368.
    /// </summary>
    public double MemoryThreshold { get; init; } = Math.Exp(-1);

    /// <summary>
    /// Gets or sets the maximum number of positions per text at which the memory of states is measured. They are spread evenly over its second half.
    /// The default is 64.
    /// </summary>
    public int MemoryPositions { get; init; } = 64;

    /// <summary>
    /// Gets or sets the maximum number of heads, or channels of Mamba-1, per layer whose memory is measured, spread evenly. The default is 256. The
    /// steps of these heads at every token are held in memory, 4 bytes each.
    /// </summary>
    public int MaxHeads { get; init; } = 256;

    /// <summary>Gets or sets the number of tokens per forward pass, at least 2. Longer texts continue from a cache. The default is 2,048.</summary>
    public int ChunkLength { get; init; } = 2048;

    /// <summary>Gets or sets the mean attention on the needle from which a head counts as a retrieval head, in (0, 1]. The default is 0.1.</summary>
    public double RetrievalMass { get; init; } = 0.1;

    // what changes results, for a task
    internal string Settings => string.Create(CultureInfo.InvariantCulture,
        $"{MemoryPositions} positions, {MaxHeads} heads, retrieval from a mass of {RetrievalMass}, chunks of {ChunkLength}");

    internal void Check()
    {
        Require.InRange(MemoryThreshold is > 0 and < 1, nameof(MemoryThreshold), MemoryThreshold, "a share in (0, 1)");
        Require.InRange(MemoryPositions >= 1, nameof(MemoryPositions), MemoryPositions, "at least 1 position");
        Require.InRange(MaxHeads >= 1, nameof(MaxHeads), MaxHeads, "at least 1 head");
        Require.InRange(ChunkLength >= 2, nameof(ChunkLength), ChunkLength, "at least 2 tokens");
        Require.InRange(RetrievalMass is > 0 and <= 1, nameof(RetrievalMass), RetrievalMass, "a share in (0, 1]");
    }
}
