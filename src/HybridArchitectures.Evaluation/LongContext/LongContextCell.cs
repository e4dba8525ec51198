namespace HybridArchitectures.Evaluation;

/// <summary>The result at one length and depth.</summary>
/// <param name="Length">The largest number of tokens of prompts.</param>
/// <param name="Depth">Where the needle stood, 0 to 1; null where it was random.</param>
/// <param name="Score">Mean score, 0 to 1, over trials.</param>
public sealed record LongContextCell(int Length, double? Depth, Estimate Score);
