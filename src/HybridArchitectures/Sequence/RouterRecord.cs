using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Contains the decisions of the router of one block in a pass.</summary>
/// <param name="Block">The block, from 1.</param>
/// <param name="Logits">(batch x length, experts) float32: rows in order, with the real tokens first in each row.</param>
/// <param name="Chosen">The selected experts, best first: (batch x length, experts per token) int64.</param>
public sealed record RouterRecord(int Block, Tensor Logits, Tensor Chosen);
