namespace HybridArchitectures.Generation;

/// <summary>The text generated for one prompt.</summary>
/// <param name="Text">The text after the prompt, without the stop string or stop token that ended it.</param>
/// <param name="Ids">The generated tokens, a stop token included.</param>
/// <param name="PromptIds">The tokens of the prompt as the model saw them.</param>
/// <param name="FinishReason">Why it ended.</param>
/// <param name="Seed">The seed it was sampled with: the same prompt, options and seed give it again.</param>
public sealed record GenerationResult(string Text, IReadOnlyList<int> Ids, IReadOnlyList<int> PromptIds, FinishReason FinishReason, long Seed);
