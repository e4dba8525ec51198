namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Contains the choice of a model for one question.</summary>
/// <param name="LogProbabilities">The log-likelihood of each answer, in nats.</param>
/// <param name="Chosen">The index of the answer with the highest log-likelihood, the first of equal ones.</param>
/// <param name="ChosenByCharacters">The index of the answer with the highest log-likelihood per character (Unicode code point) of its text.</param>
/// <param name="ChosenByBytes">The index of the answer with the highest log-likelihood per UTF-8 byte of its text.</param>
/// <param name="Answer">The index of the correct answer.</param>
public sealed record ChoiceOutcome(IReadOnlyList<double> LogProbabilities, int Chosen, int ChosenByCharacters, int ChosenByBytes, int Answer);
