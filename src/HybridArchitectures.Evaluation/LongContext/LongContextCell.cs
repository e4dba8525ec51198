using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Contains the score at one length and depth.</summary>
/// <param name="Length">The maximum number of tokens of the prompts.</param>
/// <param name="Depth">The relative position of the needle, 0 to 1, or null if it was random.</param>
/// <param name="Score">The mean score over trials, 0 to 1.</param>
public sealed record LongContextCell(int Length, double? Depth, Estimate Score);
