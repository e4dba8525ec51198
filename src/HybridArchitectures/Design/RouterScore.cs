namespace HybridArchitectures.Design;

/// <summary>Specifies how scores are computed from the outputs of a router.</summary>
public enum RouterScore
{
    /// <summary>Computes the sigmoid of each output, between 0 and 1.</summary>
    Sigmoid,

    /// <summary>Computes the softmax over all experts, which sums to 1.</summary>
    Softmax,
}
