using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Counts the keys that queries see. Query t of a sequence sees min(t, span) keys, where the span is the sum of window and sinks.</summary>
static class VisibleKeys
{
    /// <summary>Returns the number of keys that a query at the end of a long sequence sees.</summary>
    public static long Span(AttentionSpec attention) => attention.Window is { } window ? (long)window + attention.Sinks : long.MaxValue;

    /// <summary>Returns the mean over the queries of a sequence.</summary>
    public static double Mean(long length, long span)
    {
        double rising = Math.Min(length, span);
        return (rising * (rising + 1) / 2 + rising * (length - rising)) / length;
    }
}
