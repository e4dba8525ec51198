namespace HybridArchitectures.Design;

/// <summary>Specifies the feed-forward that a pattern string requests.</summary>
public enum PatternFeedForward
{
    /// <summary>Selects the usual feed-forward of the design. It has no mark.</summary>
    Usual,

    /// <summary>The mixture of experts, in a design that has another feed-forward as well. The mark is <c>e</c>.</summary>
    Experts,

    /// <summary>Selects no feed-forward. The mark is <c>~</c>.</summary>
    None,
}
