namespace HybridArchitectures.Design;

/// <summary>How an intra-layer hybrid makes one output of its two branches.</summary>
public enum FusionKind
{
    /// <summary>State-space branch plus attention.</summary>
    Add,

    /// <summary>State-space branch minus attention.</summary>
    Difference,

    /// <summary>Both side by side, then one projection.</summary>
    Concat,

    /// <summary>A learned share per channel: sigmoid(g) times the state-space branch plus (1 - sigmoid(g)) times attention.</summary>
    Gate,
}
