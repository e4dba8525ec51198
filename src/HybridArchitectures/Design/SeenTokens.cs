namespace HybridArchitectures.Design;

/// <summary>How many tokens a token sees, itself included: the mean over the tokens of a text, or those of one decoding step.</summary>
public readonly record struct SeenTokens
{
    readonly long tokens;
    readonly bool isStep;

    SeenTokens(long tokens, bool isStep) => (this.tokens, this.isStep) = (tokens, isStep);

    /// <summary>Gets the number of tokens of the text; null for one decoding step.</summary>
    public long? TextLength => isStep ? null : tokens;

    /// <summary>Returns the mean over the tokens of a text, as in training and prefill.</summary>
    /// <param name="length">Tokens of the text, at least 1.</param>
    /// <exception cref="ArgumentException"><paramref name="length"/> is below 1.</exception>
    public static SeenTokens FromText(long length)
    {
        Require.AtLeast(length, 1, nameof(length));
        return new(length, isStep: false);
    }

    /// <summary>Returns what one decoded token sees.</summary>
    /// <param name="position">Tokens before it, at least 0.</param>
    /// <exception cref="ArgumentException"><paramref name="position"/> is below 0.</exception>
    public static SeenTokens FromStep(long position)
    {
        Require.AtLeast(position, 0, nameof(position));
        return new(position + 1, isStep: true);
    }

    /// <summary>Counts the tokens seen through a window: token t of a text sees min(t, <paramref name="window"/>) tokens.</summary>
    /// <param name="window">Tokens that a late token sees, itself included. The default sees all.</param>
    public double Count(long window = long.MaxValue)
    {
        double rising = Math.Min(tokens, window);
        return isStep ? rising : (rising * (rising + 1) / 2 + rising * (tokens - rising)) / tokens;
    }
}
