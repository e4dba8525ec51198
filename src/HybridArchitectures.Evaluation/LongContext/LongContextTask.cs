using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Creates long prompts of any number of tokens. Derive from this class to add a task.</summary>
public abstract class LongContextTask
{
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
    /// <param name="maxTokens">The maximum number of tokens of the prompt.</param>
    /// <param name="depth">The relative position of the needle, 0 (start) to 1 (end). It is used only if <see cref="HasDepth"/> is true.</param>
    /// <param name="random">The random generator.</param>
    /// <exception cref="ArgumentException">The shortest prompt has more than <paramref name="maxTokens"/> tokens.</exception>
    public abstract LongContextSample Create(Func<string, int> count, int maxTokens, double depth, SeededRandom random);

    /// <summary>Returns the maximum number of units, at least 0, whose prompt fits. The token count must rise with the units.</summary>
    private protected static int MaxUnits(Func<int, string> create, Func<string, int> count, int maxTokens, string name)
    {
        if (count(create(0)) > maxTokens)
            throw Require.OutOfRange(nameof(maxTokens), maxTokens, $"at least {count(create(0))} for {name}");
        int low = 0, high = 1;
        while (count(create(high)) <= maxTokens) (low, high) = (high, checked(2 * high));
        while (high - low > 1)
        {
            int middle = low + (high - low) / 2;
            if (count(create(middle)) <= maxTokens) low = middle;
            else high = middle;
        }
        return low;
    }
}
