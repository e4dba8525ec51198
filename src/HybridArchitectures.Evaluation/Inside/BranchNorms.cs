namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains the root mean squares, over tokens and channels, of both branches of an intra-layer hybrid.</summary>
/// <param name="Block">The block, from 1.</param>
/// <param name="StateSpace">The state-space branch before its norm.</param>
/// <param name="Attention">The attention branch before its norm.</param>
/// <param name="FusedStateSpace">
/// The term of the state-space branch in the fusion: after norm and learned scale, after a separate output projection, and times its share where a
/// gate fuses.
/// </param>
/// <param name="FusedAttention">The term of attention in the fusion.</param>
public sealed record BranchNorms(int Block, double StateSpace, double Attention, double FusedStateSpace, double FusedAttention)
{
    /// <summary>Gets attention's share of the two fused terms, 0 to 1: a / (a + s).</summary>
    public double AttentionShare => FusedAttention / (FusedAttention + FusedStateSpace);
}
