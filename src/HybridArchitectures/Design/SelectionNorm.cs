namespace HybridArchitectures.Design;

/// <summary>How Mamba-1's time step, B and C are normed, each over its own width, before they drive the scan.</summary>
public enum SelectionNorm
{
    /// <summary>Not at all (arXiv 2312.00752).</summary>
    None,

    /// <summary>RMSNorm without weight (Falcon Mamba, arXiv 2410.05355).</summary>
    Plain,

    /// <summary>RMSNorm with weight (Jamba, arXiv 2403.19887).</summary>
    Weighted,
}
