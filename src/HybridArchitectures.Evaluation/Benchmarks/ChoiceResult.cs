namespace HybridArchitectures.Evaluation;

/// <summary>Accuracies of multiple choice; standard errors are over questions.</summary>
/// <param name="Accuracy">Share of questions whose right answer has the highest log-likelihood (<c>acc</c>).</param>
/// <param name="AccuracyByCharacters">The same per character of the answer (<c>acc_norm</c>).</param>
/// <param name="AccuracyByBytes">The same per byte of the answer (<c>acc_bytes</c>).</param>
/// <param name="Outcomes">Each question's outcome, in order.</param>
public sealed record ChoiceResult(Estimate Accuracy, Estimate AccuracyByCharacters, Estimate AccuracyByBytes, IReadOnlyList<ChoiceOutcome> Outcomes);
