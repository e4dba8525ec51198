namespace HybridArchitectures.Generation;

/// <summary>Guesses the next tokens of a text: those that followed an earlier occurrence of its last tokens.</summary>
static class PromptLookup
{
    const int MaxMatch = 3;

    /// <summary>Returns the guess, which is empty if the last token has not occurred before.</summary>
    /// <param name="history">The text so far.</param>
    /// <param name="count">The number of tokens to guess.</param>
    /// <returns>
    /// At most <paramref name="count"/> tokens. Of several occurrences the one with the longest match counts, and of those the last.
    /// </returns>
    public static int[] Guess(IReadOnlyList<int> history, int count)
    {
        int best = -1, maxLength = 0;
        for (int end = history.Count - 2; end >= 0 && maxLength < MaxMatch; end--)
        {
            int length = 0;
            while (length < MaxMatch && end - length >= 0 && history[end - length] == history[history.Count - 1 - length]) length++;
            if (length > maxLength) (best, maxLength) = (end, length);
        }
        if (best < 0) return [];
        var guess = new int[Math.Min(count, history.Count - 1 - best)];
        for (int i = 0; i < guess.Length; i++) guess[i] = history[best + 1 + i];
        return guess;
    }
}
