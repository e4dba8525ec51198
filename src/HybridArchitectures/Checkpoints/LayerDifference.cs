namespace HybridArchitectures.Checkpoints;

/// <summary>Contains the difference of the output of one layer between two models on the same tokens.</summary>
/// <param name="Block">The block, counted from 1; 0 for the embedding, null for the final norm and the logits.</param>
/// <param name="Layer">The layer, for example <c>block 2 (Mamba2, SwiGluFeedForward)</c>.</param>
/// <param name="Error">
/// The maximum absolute difference, relative to the maximum output of the left model. Infinite if shapes differ or values are not finite.
/// </param>
/// <param name="Diverges">Whether the error exceeds the tolerance.</param>
public sealed record LayerDifference(int? Block, string Layer, double Error, bool Diverges);
