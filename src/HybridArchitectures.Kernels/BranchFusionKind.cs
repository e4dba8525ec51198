namespace HybridArchitectures.Kernels;

/// <summary>Specifies how <see cref="BranchFusion"/> combines two branches.</summary>
public enum BranchFusionKind
{
    /// <summary>First plus second.</summary>
    Add,

    /// <summary>First minus second.</summary>
    Difference,

    /// <summary>share * first + (1 - share) * second, with share = sigmoid(gate) per channel.</summary>
    Gate,

    /// <summary>The channels of the first branch, followed by those of the second.</summary>
    Concat,
}
