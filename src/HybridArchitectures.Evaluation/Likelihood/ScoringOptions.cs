namespace HybridArchitectures.Evaluation.Likelihood;

/// <summary>Contains the options of <see cref="ContinuationScorer"/>.</summary>
public sealed record ScoringOptions
{
    /// <summary>Gets or sets the maximum number of tokens of one forward pass, including padding. The default value is 8,192.</summary>
    public int MaxTokensPerPass { get; init; } = 8192;

    /// <summary>
    /// Gets or sets the maximum number of tokens of one request. Longer requests are truncated at the start of the prompt. The default value,
    /// null, means no limit.
    /// </summary>
    public int? MaxLength { get; init; }

    /// <summary>
    /// Gets or sets whether the begin-of-text token of the tokenizer is put before every prompt. An empty prompt always becomes that token, or the
    /// end-of-text token if there is none. The default value is false, as in lm-evaluation-harness.
    /// </summary>
    public bool BeginOfText { get; init; }

    // what changes scores, for a task
    internal string Settings => $"at most {MaxLength} tokens, begin of text {BeginOfText}";

    internal void Check()
    {
        Require.AtLeast(MaxTokensPerPass, 1);
        Require.InRange(MaxLength is null or >= 1, nameof(MaxLength), MaxLength, "at least 1, or null");
    }
}
