namespace HybridArchitectures.Generation;

/// <summary>Guesses the next tokens of a text: those that followed an earlier occurrence of its last tokens.</summary>
static class PromptLookup
{
    /// <summary>Specifies the maximum number of tokens that are compared.</summary>
    public const int MaxMatch = 3;

    /// <summary>Returns the guess, which is empty if too few of the last tokens have occurred before.</summary>
    /// <param name="history">The text so far.</param>
    /// <param name="count">The number of tokens to guess.</param>
    /// <param name="minMatch">The minimum number of last tokens that an occurrence repeats, 1 to <see cref="MaxMatch"/>. The default is 1.</param>
    /// <returns>
    /// <paramref name="count"/> tokens or none. Of several occurrences the one with the longest match counts, and of those the last. A guess that
    /// reaches the end of the text goes on with its own tokens: the text repeats itself from the occurrence on.
    /// </returns>
    public static int[] Guess(IReadOnlyList<int> history, int count, int minMatch = 1)
    {
        int best = -1, maxLength = 0;
        for (int end = history.Count - 2; end >= 0 && maxLength < MaxMatch; end--)
        {
            int length = 0;
            while (length < MaxMatch && end - length >= 0 && history[end - length] == history[history.Count - 1 - length]) length++;
            if (length > maxLength) (best, maxLength) = (end, length);
        }
        if (maxLength < minMatch) return [];
        var guess = new int[count];
        int period = history.Count - 1 - best;
        for (int i = 0; i < count; i++) guess[i] = i < period ? history[best + 1 + i] : guess[i - period];
        return guess;
    }
}
