namespace HybridArchitectures.Training.Data;

/// <summary>Represents one example that is never cut.</summary>
/// <param name="Tokens">The token ids, at least 2.</param>
/// <param name="PromptLength">
/// The number of tokens at the start that are not predicted. Only later tokens count in the loss. The default, 0, counts every token except the first
/// one.
/// </param>
/// <param name="Weight">The weight of each token in the loss, a finite number above 0. The default is 1.</param>
public sealed record TrainingExample(IReadOnlyList<int> Tokens, int PromptLength = 0, double Weight = 1);
