namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Represents one of the answers of a question.</summary>
/// <param name="Prompt">The text before the answer.</param>
/// <param name="Continuation">The text that is scored, with the space before it.</param>
/// <param name="LengthText">The text whose length normalises the log-likelihood: the answer without the space.</param>
public sealed record ChoiceOption(string Prompt, string Continuation, string LengthText);
