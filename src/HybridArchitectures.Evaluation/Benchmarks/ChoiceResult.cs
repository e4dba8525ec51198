using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Contains the accuracies of a multiple-choice task. Standard errors are over questions.</summary>
/// <param name="Accuracy">The share of questions whose correct answer has the highest log-likelihood (<c>acc</c>).</param>
/// <param name="AccuracyByCharacters">The share by log-likelihood per character of the answer (<c>acc_norm</c>).</param>
/// <param name="AccuracyByBytes">The share by log-likelihood per byte of the answer (<c>acc_bytes</c>).</param>
/// <param name="Outcomes">The outcome of each question, in order.</param>
public sealed record ChoiceResult(Estimate Accuracy, Estimate AccuracyByCharacters, Estimate AccuracyByBytes, IReadOnlyList<ChoiceOutcome> Outcomes);
