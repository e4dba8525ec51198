namespace HybridArchitectures.Design;

/// <summary>How much a finding matters.</summary>
public enum Severity
{
    /// <summary>Worth knowing; the effect is small, or a matter of taste.</summary>
    Info,

    /// <summary>A measured loss, or a mistake that costs quality or speed.</summary>
    Warning,

    /// <summary>The design will fail at what it is for.</summary>
    Error,
}
