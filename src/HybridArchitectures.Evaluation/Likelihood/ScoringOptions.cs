namespace HybridArchitectures.Evaluation;

/// <summary>How <see cref="ContinuationScorer"/> reads prompts.</summary>
public sealed record ScoringOptions
{
    /// <summary>Gets the number of tokens of one forward pass, padding included. The default value is 8,192.</summary>
    public int MaxTokensPerPass { get; init; } = 8192;

    /// <summary>
    /// Gets the largest number of tokens the model reads for one request. Longer requests lose tokens at the start of the prompt. The default value,
    /// null, means no limit.
    /// </summary>
    public int? MaxLength { get; init; }

    /// <summary>
    /// Gets whether the tokenizer's begin-of-text token is put before every prompt. An empty prompt always becomes that token, or else the
    /// end-of-text token. The default value is false, as in lm-evaluation-harness.
    /// </summary>
    public bool BeginOfText { get; init; }

    internal void Check()
    {
        Require.AtLeast(MaxTokensPerPass, 1);
        Require.InRange(MaxLength is null or >= 1, nameof(MaxLength), MaxLength, "at least 1, or null");
    }
}
