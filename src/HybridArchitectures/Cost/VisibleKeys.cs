using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>How many keys queries see: the t-th of a text sees min(t, span), where span is window and sinks together.</summary>
static class VisibleKeys
{
    /// <summary>Keys that a late query sees.</summary>
    public static long Span(AttentionSpec attention) => attention.Window is { } window ? (long)window + attention.Sinks : long.MaxValue;

    /// <summary>Mean over the queries of a text.</summary>
    public static double Mean(long length, long span)
    {
        double rising = Math.Min(length, span);
        return (rising * (rising + 1) / 2 + rising * (length - rising)) / length;
    }
}
