using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda.Attention;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements causal softmax attention (arXiv 1706.03762) with grouped queries (arXiv 2305.13245), a sliding window and attention sinks (arXiv
/// 2309.17453).
/// </summary>
/// <remarks>
/// bfloat16 on compute capability 8.x, 9.0 and 12.x uses this library's kernels, for head sizes up to 256 and more than one query. They skip keys
/// that no query sees. One case is left to libtorch: plain causal attention with heads of over 128 elements, without a window, documents, a soft cap
/// or sink logits, if gradients are recorded. All other calls use libtorch's fused kernels, or plain operators where those do not support a call.
/// Memory grows linearly with the number of tokens in every case: what would need a large mask or many scores is computed in pieces, and computed
/// again for its gradient.
/// </remarks>
public static class FusedAttention
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.FusedAttentionBackend);

    /// <summary>
    /// Returns the back end that serves queries like <paramref name="query"/>. With <see cref="KernelBackend.Auto"/>, calls that
    /// <see cref="KernelBackend.Cuda"/> does not support (because of head sizes or explicit positions), or that are left to libtorch (see the
    /// remarks), use <see cref="KernelBackend.LibTorch"/>. <see cref="KernelFor"/> returns the kernel of a call.
    /// </summary>
    public static KernelBackend BackendFor(Tensor query)
    {
        Require.Alive(query);
        return Backend switch
        {
            KernelBackend.Auto => query.dim() == 4 && query.size(1) > 1 && AttentionCuda.Serves(query) ? KernelBackend.Cuda : KernelBackend.LibTorch,
            KernelBackend.LibTorch => KernelBackend.LibTorch,
            _ => SequenceChecks.Choose(Backend, query, nameof(FusedAttention)),
        };
    }

    /// <summary>
    /// Computes softmax(scale * query key^T) value over the keys that each query sees. The output of a query that sees none is 0, without a gradient.
    /// </summary>
    /// <param name="query">The queries, shape (B, L, H, D), floating point.</param>
    /// <param name="key">The keys, shape (B, S, K, D). H is a multiple of K, and each key head serves H / K consecutive query heads.</param>
    /// <param name="value">The values, shape (B, S, K, E). E may differ from D.</param>
    /// <param name="scale">The scale of the scores. The default, null, means 1 / sqrt(D).</param>
    /// <param name="window">
    /// The number of tokens that a query sees, including itself: key j of query i if i - j &lt; window. The default, null, means all.
    /// </param>
    /// <param name="sinks">The number of first tokens of a document that are also visible outside the window. The default is 0.</param>
    /// <param name="positions">
    /// The positions of queries and keys. The default, null, means that each row is one sequence, S is at least L, and the last query is at the last
    /// key.
    /// </param>
    /// <param name="softcap">
    /// The cap c of the scores s, which become c tanh(s / c) (arXiv 2408.00118). The default, null, means no cap. Except on the CUDA kernels of this
    /// library, plain operators compute it.
    /// </param>
    /// <param name="sinkLogits">
    /// An additional score of each head, shape (H), floating point. It takes part in the softmax and has no value (arXiv 2508.10925). The default,
    /// null, means none. Except on the CUDA kernels of this library, plain operators compute it.
    /// </param>
    /// <returns>The output, shape (B, L, H, E), in the dtype of <paramref name="query"/>.</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, double? scale = null, int? window = null, int sinks = 0,
        AttentionPositions? positions = null, double? softcap = null, Tensor? sinkLogits = null)
    {
        var inputs = Checked(query, key, value, scale, window, sinks, positions, softcap, sinkLogits);
        var (batch, queries, heads, keys, valueSize) = (query.size(0), query.size(1), query.size(2), key.size(1), value.size(3));
        if (batch == 0 || queries == 0 || keys == 0) return zeros([batch, queries, heads, valueSize], query.dtype, query.device);
        switch (BackendFor(query))
        {
            case KernelBackend.Reference:
                return Unfused(inputs);
            case KernelBackend.Cuda when OwnKernelSupports(inputs):
                KernelEvents.Log.Chosen(nameof(FusedAttention), KernelBackend.Cuda.ToString, query);
                return AttentionCuda.Forward(inputs with { Window = window >= keys ? null : window });
        }
        // libtorch's fused kernels support neither
        if (softcap is not null || sinkLogits is not null) return Composed(inputs);
        if (Pieces(inputs) is { } pieces) return InPieces(pieces, inputs);
        return HasManyScores(inputs) && PlannedKernel(inputs) == AttentionKernel.Math ? Composed(inputs) : InOneCall(inputs);
    }

    static AttentionInputs Checked(Tensor query, Tensor key, Tensor value, double? scale, int? window, int sinks, AttentionPositions? positions,
        double? softcap, Tensor? sinkLogits)
    {
        var inputs = new AttentionInputs(query, key, value)
        {
            Scale = scale ?? AttentionInputs.DefaultScale(query), Window = window, Sinks = sinks, Positions = positions, Softcap = softcap,
            SinkLogits = sinkLogits,
        };
        inputs.Check();
        return inputs;
    }

    static Tensor Unfused(AttentionInputs inputs) => AttentionReference.Forward(
        inputs.Query, inputs.Key, inputs.Value, inputs.Scale, inputs.Window, inputs.Sinks, inputs.Positions, inputs.Softcap, inputs.SinkLogits);

    // plain operators store the scores of one part of the work at a time
    static Tensor Composed(AttentionInputs inputs)
    {
        bool whole = !HasManyScores(inputs);
        KernelEvents.Log.Chosen(nameof(FusedAttention), (whole ? AttentionKernel.Math : AttentionKernel.Composed).ToString, inputs.Query);
        if (whole) return Unfused(inputs);
        long scores = MaxScores(inputs);
        var pieces = AttentionPlan.ForScores(inputs.Query, inputs.Key, inputs.Window, inputs.Sinks, inputs.Positions, scores);
        return PiecewiseAttention.Apply(pieces, inputs, scores, Unfused);
    }

    // a GPU needs more work at a time to be busy
    static long MaxScores(AttentionInputs inputs) => inputs.Query.device_type == TorchSharp.DeviceType.CPU ? 1 << 22 : 1 << 24;

    static bool HasManyScores(AttentionInputs inputs)
    {
        var (query, key) = (inputs.Query, inputs.Key);
        return (double)query.size(0) * query.size(2) * query.size(1) * key.size(1) > MaxScores(inputs);
    }

    /// <summary>Computes attention by one call of libtorch's operator, which selects the kernel.</summary>
    internal static Tensor InOneCall(AttentionInputs inputs)
    {
        using var scope = NewDisposeScope();
        var call = Plan(inputs);
        KernelEvents.Log.Chosen(nameof(FusedAttention), () => Choice(call).ToString(), inputs.Query);
        var output = TorchOperator.Call("aten::scaled_dot_product_attention", "", call.Query, call.Key, call.Value,
            OperatorArgument.Optional(call.Mask), 0.0, call.Causal, OperatorArgument.Optional((double?)call.Scale), call.Grouped).transpose(1, 2);
        long valueSize = inputs.Value.size(3);
        if (valueSize < output.size(3)) output = output.narrow(-1, 0, valueSize);
        if (call.Blind is not null) output = output.masked_fill(call.Blind.unsqueeze(-1), Scalars.Zero);
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Returns the kernel that <see cref="Forward"/> uses for these arguments on their device: this library's, or the one that libtorch selects.
    /// </summary>
    /// <inheritdoc cref="Forward" path="/param"/>
    /// <returns>The kernel. <see cref="AttentionKernel.Math"/> means that all scores are stored in memory. If the call is divided into pieces, the
    /// kernel is that of the first piece.</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid for <see cref="Forward"/>.</exception>
    public static AttentionKernel KernelFor(Tensor query, Tensor key, Tensor value, double? scale = null, int? window = null, int sinks = 0,
        AttentionPositions? positions = null, double? softcap = null, Tensor? sinkLogits = null)
    {
        var inputs = Checked(query, key, value, scale, window, sinks, positions, softcap, sinkLogits);
        if (BackendFor(query) == KernelBackend.Cuda && OwnKernelSupports(inputs)) return AttentionKernel.Cuda;
        if (softcap is not null || sinkLogits is not null) return HasManyScores(inputs) ? AttentionKernel.Composed : AttentionKernel.Math;
        if (Pieces(inputs) is [var piece, ..])
            return query.device_type == TorchSharp.DeviceType.CPU ? AttentionKernel.Flash : PlannedKernel(PiecewiseAttention.First(piece, inputs));
        var kernel = PlannedKernel(inputs);
        return kernel == AttentionKernel.Math && HasManyScores(inputs) ? AttentionKernel.Composed : kernel;
    }

    static AttentionKernel PlannedKernel(AttentionInputs inputs)
    {
        using var scope = NewDisposeScope();
        return Choice(Plan(inputs));
    }

    // a mask over all queries and keys may need more memory and time than several calls
    static IReadOnlyList<AttentionPiece>? Pieces(AttentionInputs inputs)
    {
        var (query, key) = (inputs.Query, inputs.Key);
        return query.NumberOfElements > 0 && key.NumberOfElements > 0
            ? AttentionPlan.Create(query, key, inputs.Window, inputs.Sinks, inputs.Positions) : null;
    }

    static Tensor InPieces(IReadOnlyList<AttentionPiece> pieces, AttentionInputs inputs)
    {
        if (inputs.Query.device_type != TorchSharp.DeviceType.CPU) return PiecewiseAttention.Apply(pieces, inputs, long.MaxValue, InOneCall);
        using var scope = NewDisposeScope();
        KernelEvents.Log.Chosen(nameof(FusedAttention), () => $"{AttentionKernel.Flash} in {pieces.Count} pieces", inputs.Query);
        var (size, valueSize) = (inputs.Query.size(3), inputs.Value.size(3));
        var widest = Math.Max(size, valueSize);
        var output = AttentionCpu.Apply(pieces, inputs with
        {
            Query = Padded(inputs.Query, widest), Key = Padded(inputs.Key, widest), Value = Padded(inputs.Value, widest),
        });
        return (valueSize < widest ? output.narrow(-1, 0, valueSize) : output).MoveToOuterDisposeScope();
    }

    static Tensor Padded(Tensor x, long size) => x.size(-1) == size ? x : Pad(x, size);

    // an explicit choice of the CUDA back end is an error if it is not available; a default choice is not
    static bool OwnKernelSupports(AttentionInputs inputs)
    {
        var refusal = AttentionCuda.Refusal(inputs);
        if (refusal is not null && Backend == KernelBackend.Cuda)
            throw Require.Unfit(null, $"the back end of FusedAttention is Cuda, but {refusal}", "arguments that the CUDA back end supports, or Auto");
        return refusal is null && (Backend == KernelBackend.Cuda || !IsLeftToLibTorch(inputs));
    }

    // Attention that libtorch's fused kernels compute without a dense mask, for which both are fast: see MaxPlainAttentionGradientSize.
    internal static bool IsLeftToLibTorch(AttentionInputs inputs)
    {
        var (query, key) = (inputs.Query, inputs.Key);
        bool isPlain = inputs is { Positions: null, Softcap: null, SinkLogits: null } && query.size(1) == key.size(1)
            && (inputs.Window is null || inputs.Window >= key.size(1));
        return isPlain && inputs.RecordsGradient
            && Math.Max(query.size(3), inputs.Value.size(3)) > OperatorOptions.Current.Thresholds.MaxPlainAttentionGradientSize;
    }

    // the arguments of libtorch's operator, heads before tokens; Blind: the queries (B, L) that see nothing, if there may be any
    readonly record struct FusedCall(Tensor Query, Tensor Key, Tensor Value, Tensor? Mask, bool Causal, double Scale, bool Grouped, Tensor? Blind);

    static FusedCall Plan(AttentionInputs inputs)
    {
        var (query, key, value, window, sinks) = (inputs.Query, inputs.Key, inputs.Value, inputs.Window, inputs.Sinks);
        var (queries, keys) = (query.size(1), key.size(1));
        // explicit positions can have gaps
        if (window >= keys && inputs.Positions is null) window = null;
        Tensor? mask = null, blind = null;
        bool causal = false;
        if (inputs.Positions is { } positions)
        {
            var visible = AttentionReference.Visible(queries, keys, window, sinks, positions, query.device);        // (B, L, S)
            blind = visible.any(-1, true).logical_not();
            mask = visible.logical_or(blind).unsqueeze(1);
        }
        else if (queries == 1)
        {
            // one query sees everything that its window leaves, so no mask is needed
            if (window is { } width && width + sinks < keys) (key, value) = (Seen(key, width, sinks), Seen(value, width, sinks));
        }
        else if (window is null && queries == keys) causal = true;
        else mask = AttentionReference.Visible(queries, keys, window, sinks, null, query.device).unsqueeze(1);
        (query, key, value) = Fit(query, key, value, mask);
        return new(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), mask, causal, inputs.Scale, query.size(2) != key.size(2),
            blind);
    }

    // returns heads that libtorch's fused kernels support
    static (Tensor Query, Tensor Key, Tensor Value) Fit(Tensor query, Tensor key, Tensor value, Tensor? mask)
    {
        // on a GPU, only plain operators support grouped heads with a mask or in float32, and they store all scores
        if (query.device_type == TorchSharp.DeviceType.CUDA && query.size(2) != key.size(2)
            && (mask is not null || query.dtype == ScalarType.Float32)) (key, value) = (ForEachQuery(key, query), ForEachQuery(value, query));
        // the fused kernels require equal head sizes: zeros change neither scores nor the used part of the values
        long size = query.size(3), valueSize = value.size(3);
        if (valueSize > size) (query, key) = (Pad(query, valueSize), Pad(key, valueSize));
        if (valueSize < size) value = Pad(value, size);
        return (query, key, value);
    }

    static AttentionKernel Choice(FusedCall call) =>
        (AttentionKernel)TorchOperator.CallInteger("aten::_fused_sdp_choice", "", call.Query, call.Key, call.Value,
        OperatorArgument.Optional(call.Mask), 0.0, call.Causal, OperatorArgument.Optional((double?)call.Scale), call.Grouped);

    // (B, S, K, .) to (B, S, H, .)
    static Tensor ForEachQuery(Tensor x, Tensor query) =>
        x.unsqueeze(3).expand(x.size(0), x.size(1), x.size(2), query.size(2) / x.size(2), x.size(3)).reshape(
            x.size(0), x.size(1), query.size(2), x.size(3));

    static Tensor Seen(Tensor x, long window, long sinks)
    {
        var recent = x.narrow(1, x.size(1) - window, window);
        return sinks == 0 ? recent : cat([x.narrow(1, 0, sinks), recent], 1);
    }

    static Tensor Pad(Tensor x, long size) => nn.functional.pad(x, [0, size - x.size(-1)]);
}
