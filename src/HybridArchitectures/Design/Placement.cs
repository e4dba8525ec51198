namespace HybridArchitectures.Design;

/// <summary>
/// Specifies where the n blocks of the first kind of a ratio are placed among <c>depth</c> blocks. The even rule puts the k-th of them, counted from
/// 1, at position k (depth + 1) / (n + 1), rounded half up. The names are those of the placement studies of arXiv 2510.04800, where
/// <see cref="Middle"/> was best.
/// </summary>
public enum Placement
{
    /// <summary>The even rule, which leaves equal distances before, between and after the blocks.</summary>
    Middle,

    /// <summary>Is the same as <see cref="Middle"/>.</summary>
    Even,

    /// <summary>Applies the even rule and moves the first one to the first block.</summary>
    Front,

    /// <summary>Applies the even rule and moves the last one to the last block.</summary>
    End,

    /// <summary>Consecutive blocks in the middle of the stack, half a block later if they cannot be centered.</summary>
    Clustered,

    /// <summary>
    /// Both ends and the middle: n / 3, rounded half up, at each end, and the rest consecutively in the middle. n must be at least 2.
    /// </summary>
    Sandwich,
}
