namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>Specifies a source file of the gated delta rule over whole rows.</summary>
enum GatedDeltaSource
{
    /// <summary>Solves the triangular systems of all chunks.</summary>
    Prepare,

    /// <summary>Passes states and their gradients from chunk to chunk.</summary>
    ChunkScan,

    /// <summary>Computes the gradients within chunks.</summary>
    Pairs,

    /// <summary>Solves the triangular systems of all chunks, with a decay per key channel.</summary>
    ChannelPrepare,

    /// <summary>Computes the gradients within chunks, with a decay per key channel.</summary>
    ChannelPairs,
}
