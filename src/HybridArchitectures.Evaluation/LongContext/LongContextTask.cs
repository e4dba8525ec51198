using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Creates long prompts of any number of tokens. Derive from this class to add a task.</summary>
public abstract class LongContextTask
{
    const int MaxTokens = 1 << 24;

    /// <summary>Gets the name of the task.</summary>
    public abstract string Name { get; }

    /// <summary>Gets the source of the protocol, such as a paper.</summary>
    public abstract string Source { get; }

    /// <summary>Gets the number of tokens that a model generates.</summary>
    public abstract int MaxNewTokens { get; }

    /// <summary>Gets whether the position of the answer in the prompt is set by a depth. Otherwise it is random.</summary>
    public abstract bool HasDepth { get; }

    /// <summary>Creates a prompt that is as long as possible.</summary>
    /// <param name="count">Returns the number of tokens of a text.</param>
    /// <param name="maxTokens">The maximum number of tokens of the prompt, at most 16,777,216.</param>
    /// <param name="depth">The relative position of the needle, 0 (start) to 1 (end). It is used only if <see cref="HasDepth"/> is true.</param>
    /// <param name="random">The random generator.</param>
    /// <exception cref="ArgumentException">
    /// The shortest prompt has more than <paramref name="maxTokens"/> tokens, or the number of tokens does not rise with the text.
    /// </exception>
    public abstract LongContextSample Create(Func<string, int> count, int maxTokens, double depth, SeededRandom random);

    /// <summary>Returns the maximum number of units, at least 0, whose prompt fits.</summary>
    /// <exception cref="ArgumentException">
    /// The shortest prompt does not fit, or a prompt has as many tokens as one of half as many units, so that no length is too long.
    /// </exception>
    private protected static int MaxUnits(Func<int, string> create, Func<string, int> count, int maxTokens, string name)
    {
        Require.InRange(maxTokens <= MaxTokens, nameof(maxTokens), maxTokens, $"at most {MaxTokens}");
        int low = 0, high = 1, before = count(create(0));
        if (before > maxTokens) throw Require.OutOfRange(nameof(maxTokens), maxTokens, $"at least {before} for {name}");
        for (int tokens; (tokens = count(create(high))) <= maxTokens; before = tokens)
        {
            // a few units may be shorter than the text around them
            if (high >= 16 && tokens <= before)
                throw Require.Unfit(
                    nameof(count), $"count is {tokens} for {high / 2} and for {high} units of {name}", "more tokens for a longer text");
            (low, high) = (high, 2 * high);
        }
        while (high - low > 1)
        {
            int middle = low + (high - low) / 2;
            if (count(create(middle)) <= maxTokens) low = middle;
            else high = middle;
        }
        return low;
    }
}
