namespace HybridArchitectures.Design;

/// <summary>
/// Where the n blocks of a ratio's first kind stand among <c>depth</c> blocks. The base is the even set: the k-th (1-based) at k (depth + 1) / (n + 1),
/// rounded half up. Names are those of the placement studies of arXiv 2510.04800, whose best is <see cref="Middle"/>.
/// </summary>
public enum Placement
{
    /// <summary>The even set, which leaves the same room before the first, between all, and after the last.</summary>
    Middle,

    /// <summary>The even set; another name for <see cref="Middle"/>.</summary>
    Even,

    /// <summary>The even set with its first moved to the first block.</summary>
    Front,

    /// <summary>The even set with its last moved to the last block.</summary>
    End,

    /// <summary>One after another, in the middle of the stack (half a block later if it does not come out even).</summary>
    Clustered,

    /// <summary>At both ends and in the middle: n / 3, rounded half up, at each end, the rest clustered. Needs n of at least 2.</summary>
    Sandwich,
}
