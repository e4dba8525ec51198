namespace HybridArchitectures.Design;

/// <summary>Specifies the norm of each branch of an intra-layer hybrid, before its output projection.</summary>
public enum BranchNorm
{
    /// <summary>Applies no norm.</summary>
    None,

    /// <summary>Applies one RMSNorm with weight over the width of the branch.</summary>
    Rms,

    /// <summary>Applies one RMSNorm without weight per head of the branch.</summary>
    Group,
}
