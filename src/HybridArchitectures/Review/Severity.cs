namespace HybridArchitectures.Review;

/// <summary>Specifies the severity of a finding.</summary>
public enum Severity
{
    /// <summary>The effect is small or a matter of preference.</summary>
    Info,

    /// <summary>The finding has a measured loss, or costs quality or speed.</summary>
    Warning,

    /// <summary>The design will fail at its purpose.</summary>
    Error,
}
