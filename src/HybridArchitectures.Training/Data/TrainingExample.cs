namespace HybridArchitectures.Training;

/// <summary>One example that is trained on as a whole.</summary>
/// <param name="Tokens">The token ids; at least 2.</param>
/// <param name="PromptLength">
/// How many tokens at the start are given, not predicted: only later tokens count in the loss. The default value, 0, counts every token but the first, which
/// has none before it.
/// </param>
/// <param name="Weight">The weight of each of its tokens in the loss, a finite number above 0. The default value is 1.</param>
public sealed record TrainingExample(IReadOnlyList<int> Tokens, int PromptLength = 0, double Weight = 1);
