namespace HybridArchitectures.Checkpoints;

/// <summary>How a tensor of one checkpoint differs from that of the same name in another; where several hold, the later one here.</summary>
public enum TensorChange
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>In its numbers.</summary>
    Values,

    /// <summary>In its element type, and perhaps in its numbers.</summary>
    Type,

    /// <summary>In its shape.</summary>
    Shape,

    /// <summary>It is missing on the right.</summary>
    OnlyLeft,

    /// <summary>It is missing on the left.</summary>
    OnlyRight,
}
