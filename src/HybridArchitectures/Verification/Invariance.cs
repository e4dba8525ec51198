namespace HybridArchitectures.Verification;

/// <summary>
/// Specifies a change that must not affect the output of a model. The order is from cause to effect: a layer that sees later tokens fails the first
/// check and most others.
/// </summary>
public enum Invariance
{
    /// <summary>Later tokens do not change earlier outputs.</summary>
    Causality,

    /// <summary>The result for a row does not depend on the other rows or on their order.</summary>
    BatchOrder,

    /// <summary>Padding on the left or the right, with or without a cache, changes nothing.</summary>
    Padding,

    /// <summary>Documents packed into a row give the same result as separate rows.</summary>
    Packing,

    /// <summary>A prompt that is read in chunks of any size gives the same result as one pass.</summary>
    ChunkedPrefill,

    /// <summary>Token-by-token decoding gives the same result as one pass.</summary>
    SingleSteps,

    /// <summary>Rows of unequal length, read in chunks and continued together, give the same result as separate rows.</summary>
    RaggedBatch,

    /// <summary>Rows of a cache can be copied, removed, and added to another batch.</summary>
    CacheRows,

    /// <summary>A cache can be restored from a snapshot and from a file.</summary>
    CacheReturn,

    /// <summary>A cache has as many bytes after a prompt and a step as the cost model predicts for each block.</summary>
    CacheBytes,
}
