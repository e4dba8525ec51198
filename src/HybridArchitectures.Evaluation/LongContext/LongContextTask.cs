using HybridArchitectures.Training;

namespace HybridArchitectures.Evaluation;

/// <summary>A kind of long prompt, of any number of tokens.</summary>
public abstract class LongContextTask
{
    /// <summary>Gets the task's name.</summary>
    public abstract string Name { get; }

    /// <summary>Gets the source of its protocol.</summary>
    public abstract string Source { get; }

    /// <summary>Gets how many tokens a model writes.</summary>
    public abstract int MaxNewTokens { get; }

    /// <summary>Gets whether the place of what is to be found is given; else it is random.</summary>
    public abstract bool HasDepth { get; }

    /// <summary>Creates a prompt that is as long as possible.</summary>
    /// <param name="count">Returns the number of tokens of a text.</param>
    /// <param name="maxTokens">The largest number of tokens of the prompt.</param>
    /// <param name="depth">Where the needle stands, 0 (start) to 1 (end); of use where <see cref="HasDepth"/>.</param>
    /// <param name="random">Where all chance comes from.</param>
    /// <exception cref="ArgumentException">Not even the shortest prompt fits.</exception>
    public abstract LongContextSample Create(Func<string, int> count, int maxTokens, double depth, SeededRandom random);

    /// <summary>The largest number of units, at least 0, whose prompt has at most that number of tokens; the count rises with the units.</summary>
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
