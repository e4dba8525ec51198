namespace HybridArchitectures.Checkpoints;

/// <summary>Specifies how a tensor differs between two checkpoints. If several kinds apply, the last one in this order is used.</summary>
public enum TensorChange
{
    /// <summary>The tensors are equal.</summary>
    None,

    /// <summary>The values differ.</summary>
    Values,

    /// <summary>The dtypes differ, and possibly the values.</summary>
    Type,

    /// <summary>The shapes differ.</summary>
    Shape,

    /// <summary>The tensor is missing on the right.</summary>
    OnlyLeft,

    /// <summary>The tensor is missing on the left.</summary>
    OnlyRight,
}
