namespace HybridArchitectures.Reports;

/// <summary>What the horizontal axis of a loss plot counts.</summary>
public enum LossAxis
{
    /// <summary>Tokens trained on.</summary>
    Tokens,

    /// <summary>Optimizer steps.</summary>
    Steps,

    /// <summary>Wall-clock time, in seconds, minutes or hours as it comes.</summary>
    Seconds,
}
