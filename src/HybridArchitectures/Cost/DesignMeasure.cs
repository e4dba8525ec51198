namespace HybridArchitectures.Cost;

/// <summary>In what two designs are made equal.</summary>
public enum DesignMeasure
{
    /// <summary>All parameters.</summary>
    Parameters,

    /// <summary>Parameters without embedding and head, as the paper compares.</summary>
    NonEmbeddingParameters,

    /// <summary>What one token uses of those.</summary>
    ActiveParameters,

    /// <summary>Training operations per token, by <see cref="FlopAccounting.Paper"/>.</summary>
    TrainingFlops,
}
