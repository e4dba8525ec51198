namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Represents a long prompt with the answers that the output of the model must contain.</summary>
/// <param name="Prompt">The text of the prompt.</param>
/// <param name="Answers">The answers, at least one.</param>
/// <param name="IsEveryAnswerWanted">
/// True if the score is the share of answers found. If it is false, one answer is sufficient for a score of 1.
/// </param>
public sealed record LongContextSample(string Prompt, IReadOnlyList<string> Answers, bool IsEveryAnswerWanted = true)
{
    /// <summary>Scores the output of a model: the share of answers that it contains, ignoring case (<c>string_match_all</c> of RULER).</summary>
    /// <param name="written">The output after the prompt.</param>
    /// <returns>The score, 0 to 1.</returns>
    public double Score(string written)
    {
        ArgumentNullException.ThrowIfNull(written);
        int found = Answers.Count(answer => written.Contains(answer, StringComparison.OrdinalIgnoreCase));
        return IsEveryAnswerWanted ? (double)found / Answers.Count : found > 0 ? 1 : 0;
    }
}
