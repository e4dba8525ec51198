namespace HybridArchitectures.Kernels;

/// <summary>How <see cref="BranchFusion"/> joins two branches.</summary>
public enum BranchFusionKind
{
    /// <summary>First plus second.</summary>
    Add,

    /// <summary>First minus second.</summary>
    Difference,

    /// <summary>share first + (1 - share) second, with share = sigmoid(gate) per channel.</summary>
    Gate,

    /// <summary>The first's channels, then the second's.</summary>
    Concat,
}
