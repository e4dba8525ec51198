using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains the attention of one query head on the needle.</summary>
/// <param name="Block">The block, from 1.</param>
/// <param name="IsShared">Whether the head belongs to the shared transformer before the mixer of the block.</param>
/// <param name="Head">The query head, from 0.</param>
/// <param name="Mass">The mean share of the attention on tokens of the needle, 0 to 1. The standard error is over texts.</param>
/// <param name="TopShare">The share of the queries that attend most to a token of the needle, 0 to 1.</param>
public sealed record HeadAttention(int Block, bool IsShared, int Head, Estimate Mass, double TopShare)
{
    /// <summary>Gets a name such as <c>block 3, head 5</c>.</summary>
    public string Name => $"block {Block}{(IsShared ? " (shared)" : "")}, head {Head}";
}
