using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>Contains what the gated delta rule needs of all chunks: N = chunks x batch x heads rows of Q tokens.</summary>
/// <param name="Written">The part of the values in the corrections, (N, Q, V).</param>
/// <param name="Erased">The factor of the state before the chunk, which is subtracted, (N, Q, K).</param>
/// <param name="Scores">Products of queries and decayed keys, (N, Q, Q).</param>
/// <param name="Reading">Queries that read the state before the chunk, (N, Q, K).</param>
/// <param name="Writing">Keys that write the state after the chunk, (N, K, Q).</param>
/// <param name="Kept">The part of the state that remains after the chunk, (N, 1 or K, 1).</param>
readonly record struct DeltaRuleChunks(Tensor Written, Tensor Erased, Tensor Scores, Tensor Reading, Tensor Writing, Tensor Kept);
