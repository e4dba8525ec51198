namespace HybridArchitectures.Evaluation;

/// <summary>A long prompt with the answers that the text written after it must hold.</summary>
/// <param name="Prompt">The prompt.</param>
/// <param name="Answers">The answers; at least one.</param>
/// <param name="IsEveryAnswerWanted">
/// Whether the score is the share of answers found. False: one answer found gives 1.
/// </param>
public sealed record LongContextSample(string Prompt, IReadOnlyList<string> Answers, bool IsEveryAnswerWanted = true)
{
    /// <summary>Scores what a model wrote: the share of answers that occur in it, letter case aside (<c>string_match_all</c> of RULER).</summary>
    /// <param name="written">The text after the prompt.</param>
    /// <returns>0 to 1.</returns>
    public double Score(string written)
    {
        ArgumentNullException.ThrowIfNull(written);
        int found = Answers.Count(answer => written.Contains(answer, StringComparison.OrdinalIgnoreCase));
        return IsEveryAnswerWanted ? (double)found / Answers.Count : found > 0 ? 1 : 0;
    }
}
