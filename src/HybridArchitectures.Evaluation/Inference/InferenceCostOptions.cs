namespace HybridArchitectures.Evaluation.Inference;

/// <summary>
/// Contains the options of <see cref="InferenceCostTask"/>. The defaults are those of arXiv 2510.04800, table 13, up to 2,048 tokens.
/// </summary>
public sealed record InferenceCostOptions
{
    /// <summary>Specifies the maximum number of tokens of a row.</summary>
    internal const int MaxLength = 1 << 24;

    /// <summary>Gets or sets the batch sizes to measure, in rows. The default value is 4.</summary>
    public IReadOnlyList<int> BatchSizes { get; init; } = [4];

    /// <summary>Gets or sets the number of tokens of each prompt. The default value is 512.</summary>
    public int PromptLength { get; init; } = 512;

    /// <summary>
    /// Gets or sets the total lengths of prompt and continuation, each above <see cref="PromptLength"/> and at most 16,777,216. The default value is
    /// 2,048.
    /// </summary>
    public IReadOnlyList<int> TotalLengths { get; init; } = [2048];

    /// <summary>
    /// Gets or sets the maximum number of decoding steps that are timed at the end of each continuation. Earlier tokens are read in one pass as a
    /// longer prompt. The default value, null, times every step, as the table of the paper does.
    /// </summary>
    public int? TimedSteps { get; init; }

    /// <summary>Gets or sets how often each time is measured. The result is the median. The default value is 1.</summary>
    public int Repetitions { get; init; } = 1;

    /// <summary>Gets or sets the seed of the random prompts. The default value is 0.</summary>
    public long Seed { get; init; }

    internal void Check()
    {
        Each(BatchSizes, nameof(BatchSizes), 1, int.MaxValue, "at least 1 row");
        Require.InRange(PromptLength is >= 1 and < MaxLength, nameof(PromptLength), PromptLength, $"1 to {MaxLength - 1} tokens");
        Each(TotalLengths, nameof(TotalLengths), PromptLength + 1, MaxLength, $"{PromptLength + 1} (above the prompt) to {MaxLength} tokens");
        Require.InRange(TimedSteps is null or >= 1, nameof(TimedSteps), TimedSteps, "at least 1 step, or null");
        Require.InRange(Repetitions >= 1, nameof(Repetitions), Repetitions, "at least 1");
    }

    static void Each(IReadOnlyList<int> values, string name, int minimum, int maximum, string expected)
    {
        Require.InRange(values is { Count: > 0 }, $"{name}.Count", values?.Count ?? 0, "at least 1");
        foreach (int value in values!) Require.InRange(value >= minimum && value <= maximum, name, value, expected);
    }
}
