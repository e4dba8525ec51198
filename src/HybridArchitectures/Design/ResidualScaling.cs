namespace HybridArchitectures.Design;

/// <summary>Specifies the divisor of the initial weights of projections into the residual stream.</summary>
public enum ResidualScaling
{
    /// <summary>Divides by 1, which means no scaling.</summary>
    None,

    /// <summary>Divides by sqrt(2 x blocks), the same in every block (GPT-2).</summary>
    Depth,

    /// <summary>Divides by sqrt(2 x position of the block), counted from 1.</summary>
    Position,
}
