namespace HybridArchitectures.Design;

/// <summary>Specifies the divisor of the initial weights of projections into the residual stream.</summary>
public enum ResidualScaling
{
    /// <summary>1.</summary>
    None,

    /// <summary>sqrt(2 x blocks), the same in every block (GPT-2).</summary>
    Depth,

    /// <summary>sqrt(2 x position of the block), counted from 1.</summary>
    Position,
}
