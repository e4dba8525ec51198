namespace HybridArchitectures.Kernels;

/// <summary>
/// Specifies how two branches are combined: the outputs of the state-space branch and the attention branch of an intra-layer hybrid, or the two
/// branches of <see cref="Operators.BranchFusion"/>.
/// </summary>
public enum FusionKind
{
    /// <summary>Adds the second branch to the first.</summary>
    Add,

    /// <summary>Subtracts the second branch from the first.</summary>
    Difference,

    /// <summary>
    /// Computes a weighted sum with a learned share per channel: share * first + (1 - share) * second, with share = sigmoid(gate).
    /// </summary>
    Gate,

    /// <summary>Concatenates the channels of the first branch and those of the second.</summary>
    Concat,
}
