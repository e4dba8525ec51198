using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Receives intermediate results of mixers, for measurements. The tensors are valid during the call only. Decoding steps that run from device memory
/// are not reported.
/// </summary>
interface IPassProbe
{
    /// <summary>Receives queries and keys of attention, after norms and rotary positions.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="spec">The attention.</param>
    /// <param name="query">(batch, length, heads, head size).</param>
    /// <param name="key">(batch, keys, key/value heads, head size), including keys of the cache.</param>
    /// <param name="positions">The positions of queries and keys; null if causal order is sufficient.</param>
    void OnAttention(SequenceContext context, AttentionSpec spec, Tensor query, Tensor key, AttentionPositions? positions);

    /// <summary>Receives the decay of a recurrent state: an element of the state is multiplied by exp(step * rate) at each token.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="steps">The time steps after bias, softplus and limits, (batch, length, heads or channels), at least 0.</param>
    /// <param name="rates">The decay A, (heads) or (channels, state size), at most 0.</param>
    void OnDecay(SequenceContext context, Tensor steps, Tensor rates);

    /// <summary>Receives the branches of an intra-layer hybrid, (batch, length, width of the branch) each.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="stateSpace">The output of the scan, before the norm of the branch.</param>
    /// <param name="attention">The output of attention, before the norm of the branch.</param>
    /// <param name="fusedStateSpace">The term of the state-space branch in the fusion.</param>
    /// <param name="fusedAttention">The term of attention in the fusion, without the sign.</param>
    void OnBranches(SequenceContext context, Tensor stateSpace, Tensor attention, Tensor fusedStateSpace, Tensor fusedAttention);
}
