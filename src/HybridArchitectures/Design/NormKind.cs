namespace HybridArchitectures.Design;

/// <summary>Specifies the norms of the blocks, and of the first and the last norm of a stack.</summary>
public enum NormKind
{
    /// <summary>Computes RMSNorm with a weight (arXiv 1910.07467).</summary>
    RootMeanSquare,

    /// <summary>Computes LayerNorm with a weight and a bias (arXiv 1607.06450).</summary>
    LayerNorm,
}
