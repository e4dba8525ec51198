namespace HybridArchitectures.Cost;

/// <summary>Specifies the measure in which two designs are made equal.</summary>
public enum DesignMeasure
{
    /// <summary>Counts all parameters.</summary>
    Parameters,

    /// <summary>Parameters without embedding and head, as the paper compares.</summary>
    NonEmbeddingParameters,

    /// <summary>Parameters without embedding and head that one token uses.</summary>
    ActiveParameters,

    /// <summary>Counts training FLOPs per token according to <see cref="Design.FlopAccounting.Paper"/>.</summary>
    TrainingFlops,
}
