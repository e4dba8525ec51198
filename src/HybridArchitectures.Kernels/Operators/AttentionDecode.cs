using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda.Attention;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements softmax attention of one or a few queries per row over a key/value cache, with the lengths of the rows on the device. No call reads a
/// length on the host, and no launch depends on one. A CUDA graph that is captured once therefore serves all lengths up to the capacity. The result
/// of a row does not depend on the other rows, and on the CPU not on the number of queries of a call. On a GPU in bfloat16, it may differ in rounding
/// between batches of up to 16 rows and larger ones. With the back end <see cref="KernelBackend.LibTorch"/>, it may differ in rounding between
/// capacities.
/// </summary>
/// <remarks>
/// Decoding has no gradient: call it under <c>no_grad</c>. The queries are the last tokens of their rows: query q of Q has position
/// length - Q + q, and the cache already contains its key and value.
/// </remarks>
public static class AttentionDecode
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.AttentionDecodeBackend);

    /// <summary>Specifies the maximum number of queries per row. The value is 8.</summary>
    public const int MaxQueries = AttentionDecodeWorkspace.MaxQueries;

    /// <summary>Returns softmax(scale * query key^T) value over the cached keys that each query sees.</summary>
    /// <param name="query">Shape: (batch, queries, heads, headSize), floating point, 1 to <see cref="MaxQueries"/> queries.</param>
    /// <param name="keys">
    /// Shape: (batch, capacity, keyHeads, headSize), in the type of <paramref name="query"/>; <c>heads</c> is a multiple of <c>keyHeads</c>, and
    /// each key head serves heads / keyHeads consecutive query heads. The key of position p is in slot p, or where
    /// <paramref name="ring"/> says.
    /// </param>
    /// <param name="values">Shape: (batch, capacity, keyHeads, valueSize). The value size may differ from the head size.</param>
    /// <param name="lengths">
    /// Shape: (batch), int32, on the device of <paramref name="query"/>: the tokens of each row, including its queries. A row of length 0 gives
    /// zeros, and so does a query at a negative position. Lengths above the capacity count as the capacity unless <paramref name="ring"/> is true.
    /// </param>
    /// <param name="scale">The scale of the scores, above 0. The default, null, means 1 / sqrt(headSize).</param>
    /// <param name="window">
    /// The number of tokens a query sees, including its own: key j of query i where i - j &lt; window. The default, null, means all.
    /// </param>
    /// <param name="sinks">The number of first tokens that are seen past the window too. The default is 0.</param>
    /// <param name="ring">
    /// Whether slots are used again: position p is in slot p where p &lt; sinks, and in slot sinks + (p - sinks) mod (capacity - sinks) otherwise.
    /// Requires a window, and capacity - sinks of at least window + queries - 1. The default is false.
    /// </param>
    /// <param name="softcap">The cap c of the scores s, which become c tanh(s / c) (arXiv 2408.00118). The default, null, means no cap.</param>
    /// <param name="sinkLogits">
    /// Shape: (heads), floating point: one more score of each head, which takes part in the softmax and has no value (arXiv 2508.10925). The
    /// default, null, means none.
    /// </param>
    /// <param name="workspace">
    /// Memory that saves each call on a GPU a launch of 1 to 2 us. Calls that share one must follow each other on one stream. The default is null.
    /// </param>
    /// <returns>Shape: (batch, queries, heads, valueSize), contiguous, in the type of <paramref name="query"/>.</returns>
    /// <exception cref="ArgumentException">An argument is not as described, or requires a gradient.</exception>
    public static Tensor Forward(Tensor query, Tensor keys, Tensor values, Tensor lengths, double? scale = null, int? window = null, int sinks = 0,
        bool ring = false, double? softcap = null, Tensor? sinkLogits = null, AttentionDecodeWorkspace? workspace = null)
    {
        var inputs = new AttentionDecodeInputs(query, keys, values, lengths)
        {
            Scale = scale ?? AttentionInputs.DefaultScale(query), Window = window, Sinks = sinks, Ring = ring, Softcap = softcap,
            SinkLogits = sinkLogits, Workspace = workspace,
        };
        inputs.Check();
        if (query.size(0) == 0 || keys.size(1) == 0)
            return zeros([query.size(0), query.size(1), query.size(2), values.size(3)], query.dtype, query.device);
        var backend = BackendFor(query);
        if (backend == KernelBackend.Cuda && AttentionDecodeCuda.Refusal(query, keys, values) is { } refusal)
        {
            if (Backend == KernelBackend.Cuda)
                throw Require.Unfit(null, $"the back end of AttentionDecode is Cuda, but {refusal}",
                    "arguments that the CUDA back end supports, or Auto");
            backend = KernelBackend.LibTorch;
        }
        KernelEvents.Log.Chosen(nameof(AttentionDecode), backend.ToString, query);
        return backend switch
        {
            KernelBackend.Reference => Unfused(inputs),
            KernelBackend.Cuda => AttentionDecodeCuda.Forward(inputs),
            KernelBackend.Cpu => AttentionDecodeCpu.Forward(inputs),
            _ => Composed(inputs),
        };
    }

    static Tensor Unfused(AttentionDecodeInputs inputs) => AttentionDecodeReference.Forward(
        inputs.Query, inputs.Keys, inputs.Values, inputs.Lengths, inputs.Scale, inputs.Window, inputs.Sinks, inputs.Ring, inputs.Softcap,
        inputs.SinkLogits);

    /// <summary>
    /// Returns the back end that serves queries like <paramref name="query"/>. Under <see cref="KernelBackend.Auto"/>, this is
    /// <see cref="KernelBackend.Cpu"/> or <see cref="KernelBackend.Cuda"/> for bfloat16 and float32. On a GPU, head sizes that are no multiple of
    /// 16 bytes or above 256 elements are still served by <see cref="KernelBackend.LibTorch"/>.
    /// </summary>
    /// <param name="query">The queries, as in <see cref="Forward"/>.</param>
    /// <returns>The back end; never <see cref="KernelBackend.Auto"/>.</returns>
    public static KernelBackend BackendFor(Tensor query)
    {
        Require.Alive(query);
        return Backend switch
        {
            KernelBackend.Auto when AttentionDecodeCuda.Serves(query) => KernelBackend.Cuda,
            KernelBackend.Auto when query is not { device_type: TorchSharp.DeviceType.CPU, dtype: ScalarType.Float32 or ScalarType.BFloat16 } =>
                KernelBackend.LibTorch,
            KernelBackend.LibTorch or KernelBackend.Reference => Backend,
            _ => SequenceChecks.Choose(Backend, query, nameof(AttentionDecode)),
        };
    }

    // In main memory, the slots after the longest row are skipped. On a GPU, all slots are read, because reading the lengths would stall the device.
    static Tensor Composed(AttentionDecodeInputs inputs)
    {
        if (inputs.Softcap is not null || inputs.SinkLogits is not null) return Unfused(inputs);
        var (query, keys, values, lengths, sinks, ring) = (inputs.Query, inputs.Keys, inputs.Values, inputs.Lengths, inputs.Sinks, inputs.Ring);
        using var scope = NewDisposeScope();
        if (!ring && lengths.device_type == TorchSharp.DeviceType.CPU)
        {
            long slots = Math.Clamp(lengths.max().item<int>(), 1, keys.size(1));
            (keys, values) = (keys.narrow(1, 0, slots), values.narrow(1, 0, slots));
        }
        var positions = AttentionDecodeReference.Positions(query.size(1), keys.size(1), lengths, sinks, ring);
        return FusedAttention.Forward(query, keys, values, inputs.Scale, inputs.Window, sinks, positions).contiguous().MoveToOuterDisposeScope();
    }
}
