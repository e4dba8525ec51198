using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>
/// Computes the gated delta rule on a GPU in bfloat16 with the kernels of <c>GatedDeltaPrepare.cu</c>, <c>GatedDeltaChunkScan.cu</c> and
/// <c>GatedDeltaPairs.cu</c>, or with a decay per key channel those of <c>GatedDeltaChannelPrepare.cu</c>, <c>GatedDeltaChunkScan.cu</c> and
/// <c>GatedDeltaChannelPairs.cu</c>. Only the inputs are saved for backward, which computes the states again.
/// </summary>
static class GatedDeltaRuleCuda
{
    // the maximum number of bytes of scratch memory; more rows are processed in parts
    const long BytesAtATime = 4L << 30;

    // the maximum of a dimension of a grid
    const long MaxGrid = 65_535;

    /// <summary>Returns what the kernels do not support in these tensors and what they expect, or null if they support them.</summary>
    /// <param name="key">The keys.</param>
    /// <param name="value">The values.</param>
    /// <param name="form">Which recurrence the kernels compute.</param>
    public static (string Found, string Expected)? Refusal(Tensor key, Tensor value, GatedDeltaForm form)
    {
        if (value.dtype != ScalarType.BFloat16) return ($"value is {value.dtype}", "BFloat16");
        if (value.device_type != DeviceType.CUDA && !CudaRuntime.Emulated) return ($"value is on {value.device}", "a CUDA device");
        if (value.size(2) > MaxGrid) return ($"value has {value.size(2)} heads", $"at most {MaxGrid}");
        if (GatedDeltaCall.ShapeFor(key, value, form) is not null) return null;
        return ($"key and value have head sizes of {key.size(3)} and {value.size(3)}",
            $"multiples of 8 up to {GatedDeltaShape.MaxSize} that fit the shared memory of the GPU");
    }

    sealed record Saved(DeltaRuleInputs Inputs, RowLayout Layout) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), Layout.Map(replace));
    }

    /// <summary>Computes the operator for inputs that <see cref="Refusal"/> does not refuse.</summary>
    public static (Tensor Output, Tensor FinalState) Forward(DeltaRuleInputs inputs)
    {
        using var scope = NewDisposeScope();
        var type = inputs.Value.dtype;
        var saved = new Saved(inputs with { Query = inputs.Query.to(type), Key = inputs.Key.to(type) }, RowLayout.From(inputs.Layout));
        var results = Autograd.Apply<Saved>(saved.Inputs.Differentiable, _ => (Compute(saved), saved), Backward);
        return (results[0].MoveToOuterDisposeScope(), results[1].MoveToOuterDisposeScope());
    }

    static Tensor[] Compute(Saved saved)
    {
        var inputs = saved.Inputs;
        var output = CudaMemory.NewLike(inputs.Value);
        var final = CudaMemory.New(output, ScalarType.Float32, inputs.Batch, inputs.Heads, inputs.KeySize, inputs.ValueSize);
        foreach (var (first, count) in Parts(inputs))
        {
            using var scope = NewDisposeScope();
            new GatedDeltaCall(inputs.Rows(first, count), saved.Layout.Rows(first, count))
                .Forward(output.narrow(0, first, count), final.narrow(0, first, count));
        }
        return [output, final];
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var inputs = saved.Inputs;
        var results = NewGradients(inputs);
        var (gradient, finalGradient) = (context.Gradients[0]?.to(inputs.Value.dtype) ?? zeros_like(inputs.Value), context.Gradients[1]);
        foreach (var (first, count) in Parts(inputs))
        {
            using var scope = NewDisposeScope();
            new GatedDeltaCall(inputs.Rows(first, count), saved.Layout.Rows(first, count)).Backward(
                gradient.narrow(0, first, count), finalGradient?.narrow(0, first, count), results.Rows(first, count));
        }
        return (results with
        {
            Decay = results.Decay.to(inputs.Decay.dtype), Strength = results.Strength?.to(inputs.Strength!.dtype),
        }).Differentiable;
    }

    static DeltaRuleInputs NewGradients(DeltaRuleInputs inputs)
    {
        var value = inputs.Value;
        Tensor Float32(params long[] sizes) => CudaMemory.New(value, ScalarType.Float32, sizes);
        return new(CudaMemory.NewLike(inputs.Query), CudaMemory.NewLike(inputs.Key),
            CudaMemory.PlaceOf(value, inputs.ValueGradient) ?? CudaMemory.NewLike(value), Float32(inputs.Decay.shape),
            inputs.Strength is null ? null : Float32(inputs.Strength.shape))
        {
            DecaysChannels = inputs.DecaysChannels,
            InitialState = inputs.InitialState is null ? null : Float32(inputs.Batch, inputs.Heads, inputs.KeySize, inputs.ValueSize),
        };
    }

    // the rows that are processed together
    static IEnumerable<(long First, long Count)> Parts(DeltaRuleInputs inputs)
    {
        long batch = inputs.Batch, rows = Math.Clamp(BytesAtATime / GatedDeltaCall.RowBytes(inputs), 1, MaxGrid);
        for (long first = 0; first < batch; first += rows) yield return (first, Math.Min(rows, batch - first));
    }
}
