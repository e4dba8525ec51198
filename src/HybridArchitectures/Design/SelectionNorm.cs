namespace HybridArchitectures.Design;

/// <summary>Specifies how the time step, B and C of Mamba-1 are normalized, each over its width, before the scan.</summary>
public enum SelectionNorm
{
    /// <summary>Applies no norm (arXiv 2312.00752).</summary>
    None,

    /// <summary>Applies RMSNorm without weight (Falcon Mamba, arXiv 2410.05355).</summary>
    Plain,

    /// <summary>Applies RMSNorm with weight (Jamba, arXiv 2403.19887).</summary>
    Weighted,
}
