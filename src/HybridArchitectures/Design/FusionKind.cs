namespace HybridArchitectures.Design;

/// <summary>Specifies how an intra-layer hybrid combines the outputs of its two branches.</summary>
public enum FusionKind
{
    /// <summary>State-space branch plus attention.</summary>
    Add,

    /// <summary>State-space branch minus attention.</summary>
    Difference,

    /// <summary>Concatenation, followed by one projection.</summary>
    Concat,

    /// <summary>A learned share per channel: sigmoid(g) times the state-space branch plus (1 - sigmoid(g)) times attention.</summary>
    Gate,
}
