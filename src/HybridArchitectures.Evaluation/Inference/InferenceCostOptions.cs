namespace HybridArchitectures.Evaluation;

/// <summary>What <see cref="InferenceCostTask"/> measures. The defaults are those of arXiv 2510.04800, table 13, up to 2,048 tokens.</summary>
public sealed record InferenceCostOptions
{
    /// <summary>Gets the rows that are continued together. The default value is 4.</summary>
    public IReadOnlyList<int> BatchSizes { get; init; } = [4];

    /// <summary>Gets the tokens of each prompt. The default value is 512.</summary>
    public int PromptLength { get; init; } = 512;

    /// <summary>Gets the tokens of prompt and continuation together, each more than <see cref="PromptLength"/>. The default value is 2,048.</summary>
    public IReadOnlyList<int> TotalLengths { get; init; } = [2048];

    /// <summary>
    /// Gets the largest number of decoding steps that are timed at the end of each continuation; earlier tokens are read at once as a longer prompt.
    /// The default value, null, times every step, as the table does.
    /// </summary>
    public int? TimedSteps { get; init; }

    /// <summary>Gets the seed of the random prompts. The default value is 0.</summary>
    public long Seed { get; init; }

    internal void Check()
    {
        Require.InRange(BatchSizes is { Count: > 0 } && BatchSizes.All(size => size >= 1), $"{nameof(BatchSizes)}.Count", BatchSizes?.Count ?? 0,
            "at least 1 batch size, each at least 1");
        Require.InRange(PromptLength >= 1, nameof(PromptLength), PromptLength, "at least 1 token");
        Require.InRange(TotalLengths is { Count: > 0 } && TotalLengths.All(length => length > PromptLength), $"{nameof(TotalLengths)}.Count",
            TotalLengths?.Count ?? 0,
            $"at least 1 length, each more than {PromptLength}, the prompt");
        Require.InRange(TimedSteps is null or >= 1, nameof(TimedSteps), TimedSteps, "at least 1 step, or null");
    }
}
