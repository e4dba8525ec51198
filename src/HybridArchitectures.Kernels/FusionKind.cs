namespace HybridArchitectures.Kernels;

/// <summary>
/// Specifies how two branches are combined: the outputs of the state-space branch and the attention branch of an intra-layer hybrid, or the two
/// branches of <see cref="Operators.BranchFusion"/>.
/// </summary>
public enum FusionKind
{
    /// <summary>The first branch plus the second.</summary>
    Add,

    /// <summary>The first branch minus the second.</summary>
    Difference,

    /// <summary>
    /// A weighted sum with a learned share per channel: share * first + (1 - share) * second, with share = sigmoid(gate).
    /// </summary>
    Gate,

    /// <summary>The channels of the first branch, followed by those of the second.</summary>
    Concat,
}
