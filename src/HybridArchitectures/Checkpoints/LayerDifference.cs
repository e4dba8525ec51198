namespace HybridArchitectures.Checkpoints;

/// <summary>A layer's output in two models on the same tokens.</summary>
/// <param name="Block">The block, from 1; 0 for the embedding, null for the final norm and the logits.</param>
/// <param name="Layer">The layer, such as <c>block 2 (Mamba2, SwiGluFeedForward)</c>.</param>
/// <param name="Error">The largest absolute difference as a share of the left's largest output; infinite where the shapes differ or numbers are not finite.</param>
/// <param name="Diverges">Whether that is more than was allowed.</param>
public sealed record LayerDifference(int? Block, string Layer, double Error, bool Diverges);
