namespace HybridArchitectures.Verification;

/// <summary>What must not change a model's numbers. They stand from the cause to what follows from it: a layer that sees later tokens fails the first, and most others too.</summary>
public enum Invariance
{
    /// <summary>Later tokens change nothing before them.</summary>
    Causality,

    /// <summary>A row of a batch gives what it gives alone, in any order of the rows.</summary>
    BatchOrder,

    /// <summary>Pads, left or right, with or without a cache, change nothing.</summary>
    Padding,

    /// <summary>Documents packed into a row give what they give alone.</summary>
    Packing,

    /// <summary>A prompt read in chunks of any sizes gives what one pass gives.</summary>
    ChunkedPrefill,

    /// <summary>Token by token gives what one pass gives: the step is the scan.</summary>
    SingleSteps,

    /// <summary>Rows of unequal length, read in chunks and continued together, give what they give alone.</summary>
    RaggedBatch,

    /// <summary>Rows of a cache may be copied, leave, and join another batch.</summary>
    CacheRows,

    /// <summary>A cache comes back to a snapshot, and out of what a file keeps of it, as it was.</summary>
    CacheReturn,

    /// <summary>A cache holds as many bytes after a prompt and a step as the cost model counts for each block.</summary>
    CacheBytes,
}
