namespace HybridArchitectures.Design;

/// <summary>The norm over each branch of an intra-layer hybrid, before its output projection.</summary>
public enum BranchNorm
{
    /// <summary>None.</summary>
    None,

    /// <summary>One RMSNorm with weight over the branch's width.</summary>
    Rms,

    /// <summary>An RMSNorm without weight over each head of the branch.</summary>
    Group,
}
