using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Generation;

/// <summary>Represents one prompt during generation.</summary>
sealed class GenerationRow
{
    readonly GenerationOptions options;
    readonly HashSet<int> stopTokens;
    readonly StreamingDecoder? decoder;
    readonly StopFilter filter;
    readonly RowRandom random;
    int minMatch = 1;           // of the last tokens with an earlier occurrence

    public GenerationRow(int index, IReadOnlyList<int> prompt, Tokenizer? tokenizer, GenerationOptions options, long seed)
    {
        (Index, Prompt, Seed, this.options) = (index, prompt, seed, options);
        History = [.. prompt];
        stopTokens = [.. options.StopTokens ?? tokenizer?.StopTokens ?? []];
        decoder = tokenizer?.CreateDecoder(options.SkipSpecialTokens);
        filter = new StopFilter(options.Stop);
        random = new RowRandom(seed);
    }

    public int Index { get; }

    public IReadOnlyList<int> Prompt { get; }

    public long Seed { get; }

    /// <summary>Gets the tokens of the prompt and the generated tokens.</summary>
    public List<int> History { get; }

    public int GeneratedCount => History.Count - Prompt.Count;

    public bool IsFinished { get; private set; }

    /// <summary>Returns at most <paramref name="count"/> guesses of the next tokens, from earlier occurrences of the last ones.</summary>
    public int[] Guess(int count) => PromptLookup.Guess(History, count, minMatch);

    /// <summary>
    /// Notes how many guesses of a pass were right. After a pass without any, the next guess must follow a longer match, so that a text that does not
    /// repeat itself is soon decoded without drafts. A right guess permits the shortest match again.
    /// </summary>
    public void NoteGuesses(int right) => minMatch = right > 0 ? 1 : Math.Min(minMatch + 1, PromptLookup.MaxMatch);

    /// <summary>Gets the random number for the next token.</summary>
    public double NextNumber => NumberAt(GeneratedCount);

    /// <summary>Returns the random number for the token generated after <paramref name="count"/> others.</summary>
    public double NumberAt(int count) => random.At(count);

    /// <summary>Accepts the next token.</summary>
    public GeneratedPiece Accept(int id)
    {
        History.Add(id);
        string text;
        FinishReason? reason;
        if (stopTokens.Contains(id)) (text, reason) = (End(), FinishReason.StopToken);
        else
        {
            text = filter.Add(decoder?.Add(id) ?? "");
            reason = null;
            if (!filter.IsStopped && GeneratedCount == options.MaxNewTokens)
            {
                text += End();
                reason = FinishReason.MaxNewTokens;
            }
        }
        if (filter.IsStopped) reason = FinishReason.StopString;
        IsFinished = reason is not null;
        return new(Index, id, text, reason);
    }

    // an incomplete character may itself complete a stop string
    string End() => filter.Add(decoder?.Flush() ?? "") + filter.End();
}
