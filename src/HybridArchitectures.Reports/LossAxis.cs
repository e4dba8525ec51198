namespace HybridArchitectures.Reports;

/// <summary>Specifies the horizontal axis of a loss plot.</summary>
public enum LossAxis
{
    /// <summary>Tokens trained on.</summary>
    Tokens,

    /// <summary>The number of optimizer steps.</summary>
    Steps,

    /// <summary>Wall-clock time, in seconds, minutes or hours depending on the duration.</summary>
    Seconds,
}
