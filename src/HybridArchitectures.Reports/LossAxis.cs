namespace HybridArchitectures.Reports;

/// <summary>Specifies the horizontal axis of a loss plot.</summary>
public enum LossAxis
{
    /// <summary>Specifies the number of tokens trained on.</summary>
    Tokens,

    /// <summary>Specifies the number of optimizer steps.</summary>
    Steps,

    /// <summary>Specifies the wall-clock time, in seconds, minutes or hours depending on the duration.</summary>
    Seconds,
}
