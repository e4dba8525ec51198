using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>
/// Computes attention in bfloat16 on compute capability 8.x, 9.0 and 12.x. It saves queries, keys, values, the output, one float32 number for each
/// query and head, and the bounds for the gradient. On 9.0, four warps together multiply, and the backward pass also stores the gradient of the
/// queries in float32. Elsewhere, and for gradients of wide heads (<see cref="AttentionShape.IsWide"/>), single warps multiply.
/// </summary>
static class AttentionCuda
{
    const long MaxTokens = AttentionCall.Unbounded;

    /// <summary>Returns whether the kernels support the device and the type of these queries.</summary>
    public static bool Serves(Tensor query) =>
        query.dtype == ScalarType.BFloat16 && query.device_type == DeviceType.CUDA && HasKernels(CudaRuntime.DeviceOf(query).Capability);

    // libtorch has kernels for the tensor cores of 10.x, which these do not use
    static bool HasKernels(int capability) => capability is (>= 80 and <= 90) or (>= 120 and < 130);

    // whether four warps together multiply
    static bool IsGrouped(Tensor query) => CudaRuntime.DeviceOf(query).Capability == OperatorOptions.Current.Thresholds.AttentionGroupCapability;

    /// <summary>
    /// Returns why the kernels do not support arguments that <see cref="Operators.FusedAttention.Forward"/> supports, or null if they do.
    /// </summary>
    public static string? Refusal(AttentionInputs inputs)
    {
        var (query, key, value, positions) = (inputs.Query, inputs.Key, inputs.Value, inputs.Positions);
        if (query.dtype != ScalarType.BFloat16) return $"query is {query.dtype}; expected BFloat16";
        int capability = CudaRuntime.DeviceOf(query).Capability;
        if (!HasKernels(capability))
            return $"query is on a GPU of compute capability {capability / 10}.{capability % 10}; expected 8.x, 9.0 or 12.x";
        const long max = AttentionShape.MaxSize;
        if (query.size(3) > max) return $"query has a head size of {query.size(3)}; expected at most {max}";
        if (value.size(3) > max) return $"value has a head size of {value.size(3)}; expected at most {max}";
        if (inputs.Scale <= 0) return $"scale is {inputs.Scale}; expected a number above 0";
        if (positions is not null && positions.Bounds is null)
            return "positions were given token by token; expected positions from AttentionPositions.FromLayout, whose keys are in order";
        if (Math.Max(query.size(1), key.size(1)) >= MaxTokens) return $"key has {key.size(1)} tokens; expected fewer than {MaxTokens}";
        return query.size(0) > ushort.MaxValue || query.size(2) > ushort.MaxValue
            ? $"query has {query.size(0)} rows of {query.size(2)} heads; expected at most {ushort.MaxValue} of each" : null;
    }

    /// <summary>Computes attention for inputs that <see cref="Refusal"/> does not refuse, with at least one row, query and key.</summary>
    public static Tensor Forward(AttentionInputs inputs)
    {
        using var scope = NewDisposeScope();
        long valueSize = inputs.Value.size(3);
        // a multiple of 16 bytes for the copy engine; zeros change neither scores nor the part of the values that is returned
        inputs = inputs with
        {
            Query = Padded(inputs.Query), Key = Padded(inputs.Key), Value = Padded(inputs.Value),
            Sinks = inputs.Window is null ? 0 : inputs.Sinks,
        };
        var output = Apply(inputs with { Positions = null }, inputs.Positions?.Bounds);
        return (output.size(3) == valueSize ? output : output.narrow(3, 0, valueSize)).MoveToOuterDisposeScope();
    }

    static Tensor Padded(Tensor x) => x.size(3) % 8 == 0 ? x : nn.functional.pad(x, [0, 8 - x.size(3) % 8]);

    // Logarithms: of the sums of the softmax, base 2; Ranges: of the keys that blocks of queries see
    sealed record Saved(AttentionInputs Inputs, Tensor? Bounds, Tensor Output, Tensor? Logarithms, Tensor? Ranges, bool Grouped)
        : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) =>
            new(Inputs.Map(replace), replace(Bounds), replace(Output)!, replace(Logarithms), replace(Ranges), Grouped);
    }

    static Tensor Apply(AttentionInputs inputs, Tensor? bounds) =>
        Autograd.Apply<Saved>([inputs.Query, inputs.Key, inputs.Value, inputs.SinkLogits], context =>
        {
            var (query, value) = (inputs.Query, inputs.Value);
            bool grouped = IsGrouped(query);
            var call = AttentionCall.Create(inputs, bounds, grouped);
            var output = CudaMemory.New(query, ScalarType.BFloat16, query.size(0), query.size(1), query.size(2), value.size(3));
            var logarithms = context.NeedsGradient ? CudaMemory.New(query, ScalarType.Float32, query.size(0), query.size(2),
                AttentionCall.Rounded(query.size(1), 128)) : null;
            call.Forward(output, logarithms);
            return ([output], new Saved(inputs, bounds, output, logarithms, call.Ranges, grouped));
        }, Backward)[0];

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var (inputs, logarithms) = (saved.Inputs, saved.Logarithms!);
        // products of four warps have no kernel for the gradients of wide heads
        bool grouped = saved.Grouped && !AttentionShape.IsWide(inputs.Query.size(3), inputs.Value.size(3));
        var call = AttentionCall.Create(inputs, saved.Bounds, grouped);
        call.Ranges = saved.Ranges;
        var (dQuery, dKey, dValue) = (CudaMemory.NewLike(inputs.Query), CudaMemory.NewLike(inputs.Key), CudaMemory.NewLike(inputs.Value));
        using var delta = call.Backward(context.Gradients[0]!.to(ScalarType.BFloat16), saved.Output, logarithms, dQuery, dKey, dValue);
        return [dQuery, dKey, dValue, context.Needs(3) ? SinkGradient(inputs.SinkLogits!, logarithms, delta, inputs.Query.size(1)) : null];
    }

    // A sink logit has no value. The derivative of its probability p is -delta, so that of the logit is -p delta, summed over rows and queries.
    // What is behind the queries has a logarithm of 0, from which a large logit differs so much that the exponential is infinite.
    static Tensor SinkGradient(Tensor sinkLogits, Tensor logarithms, Tensor delta, long queries)
    {
        using var scope = NewDisposeScope();
        var logits = sinkLogits.to(ScalarType.Float32).mul(Log2E).reshape(1, -1, 1);
        var probabilities = (logits - logarithms.narrow(2, 0, queries)).exp2();
        var deltas = delta.reshape(logarithms.shape).narrow(2, 0, queries);
        return probabilities.mul(deltas).sum([0L, 2L]).neg().to(sinkLogits.dtype).MoveToOuterDisposeScope();
    }

    static readonly Scalar Log2E = (1 / Math.Log(2)).ToScalar();
}
