namespace HybridArchitectures.Checkpoints;

/// <summary>Specifies how a tensor differs between two checkpoints. If several kinds apply, the last one in this order is used.</summary>
public enum TensorChange
{
    /// <summary>No difference.</summary>
    None,

    /// <summary>Different values.</summary>
    Values,

    /// <summary>Different dtypes, and possibly different values.</summary>
    Type,

    /// <summary>Different shapes.</summary>
    Shape,

    /// <summary>Missing on the right.</summary>
    OnlyLeft,

    /// <summary>Missing on the left.</summary>
    OnlyRight,
}
