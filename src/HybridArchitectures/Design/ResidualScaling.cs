namespace HybridArchitectures.Design;

/// <summary>By what the initial weights of projections that write into the residual stream are divided.</summary>
public enum ResidualScaling
{
    /// <summary>By nothing.</summary>
    None,

    /// <summary>By sqrt(2 x blocks), the same everywhere (GPT-2).</summary>
    Depth,

    /// <summary>By sqrt(2 x (1-based position of the block)).</summary>
    Position,
}
