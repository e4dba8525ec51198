using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>What the router of one block decided in a pass.</summary>
/// <param name="Block">The block, from 1.</param>
/// <param name="Logits">(batch x length, experts) float32, rows one after another, real tokens first in each.</param>
/// <param name="Chosen">(batch x length, experts per token) int64: best first.</param>
public sealed record RouterRecord(int Block, Tensor Logits, Tensor Chosen);
