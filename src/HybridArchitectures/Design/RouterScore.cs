namespace HybridArchitectures.Design;

/// <summary>What makes scores of a router's outputs.</summary>
public enum RouterScore
{
    /// <summary>Each expert's output on its own, between 0 and 1.</summary>
    Sigmoid,

    /// <summary>Shares of all experts that sum to 1.</summary>
    Softmax,
}
