namespace HybridArchitectures.Evaluation;

/// <summary>One of the answers a model chooses between.</summary>
/// <param name="Prompt">The text before it.</param>
/// <param name="Continuation">The text whose probability counts, with the blank before it.</param>
/// <param name="LengthText">The text whose length normalises the log-likelihood: the answer without the blank.</param>
public sealed record ChoiceOption(string Prompt, string Continuation, string LengthText);
