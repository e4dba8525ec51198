namespace HybridArchitectures.Design;

/// <summary>Which feed-forward a pattern string asks for.</summary>
public enum PatternFeedForward
{
    /// <summary>The design's usual one; no mark.</summary>
    Usual,

    /// <summary>The mixture of experts, where a design has it beside another; mark <c>e</c>.</summary>
    Experts,

    /// <summary>None; mark <c>~</c>.</summary>
    None,
}
