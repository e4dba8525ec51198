namespace HybridArchitectures.Design;

/// <summary>Describes the number of tokens that a token sees, including itself: the mean over a row, or the number of one decoding step.</summary>
public readonly record struct SeenTokens
{
    readonly long tokens;
    readonly bool isStep;

    SeenTokens(long tokens, bool isStep) => (this.tokens, this.isStep) = (tokens, isStep);

    /// <summary>Gets the number of tokens of the row, or null for one decoding step.</summary>
    public long? RowLength => isStep ? null : tokens;

    /// <summary>Creates the description of a whole row, as in training and prefill.</summary>
    /// <param name="length">The number of tokens of the row, at least 1.</param>
    /// <exception cref="ArgumentException"><paramref name="length"/> is below 1.</exception>
    public static SeenTokens FromRow(long length)
    {
        Require.AtLeast(length, 1, nameof(length));
        return new(length, isStep: false);
    }

    /// <summary>Creates the description of one decoding step.</summary>
    /// <param name="position">The number of tokens before the decoded token, at least 0.</param>
    /// <exception cref="ArgumentException"><paramref name="position"/> is below 0.</exception>
    public static SeenTokens FromStep(long position)
    {
        Require.AtLeast(position, 0, nameof(position));
        return new(position + 1, isStep: true);
    }

    /// <summary>Counts the tokens seen through a window. Token t of a row sees min(t, <paramref name="window"/>) tokens.</summary>
    /// <param name="window">The size of the window in tokens, including the token itself. The default means no window.</param>
    public double Count(long window = long.MaxValue)
    {
        double rising = Math.Min(tokens, window);
        return isStep ? rising : (rising * (rising + 1) / 2 + rising * (tokens - rising)) / tokens;
    }
}
