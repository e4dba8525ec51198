using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>
/// Computes the gated delta rule on a GPU in bfloat16 with the kernels of <c>GatedDeltaPrepare.cu</c>, <c>GatedDeltaWalk.cu</c> and
/// <c>GatedDeltaPairs.cu</c>. Only the inputs are saved for backward, which computes the states again.
/// </summary>
static class GatedDeltaRuleCuda
{
    // bytes of scratch memory at a time; more rows are processed in turn
    const long BytesAtATime = 4L << 30;

    // of a dimension of a grid
    const long MaxGrid = 65_535;

    /// <summary>Returns what the kernels do not support in these tensors and what they expect, or null if they support them.</summary>
    public static (string Found, string Expected)? Refusal(Tensor key, Tensor value)
    {
        if (value.dtype != ScalarType.BFloat16) return ($"value is {value.dtype}", "BFloat16");
        if (value.device_type != DeviceType.CUDA && !CudaRuntime.Emulated) return ($"value is on {value.device}", "a CUDA device");
        if (value.size(2) > MaxGrid) return ($"value has {value.size(2)} heads", $"at most {MaxGrid}");
        if (GatedDeltaCall.ShapeFor(key, value) is not null) return null;
        return ($"key and value have head sizes of {key.size(3)} and {value.size(3)}",
            $"multiples of 8 up to {GatedDeltaShape.MaxSize} that fit the shared memory of the GPU");
    }

    /// <summary>Computes the operator. The arguments are those of <see cref="Operators.GatedDeltaRule.Forward"/>.</summary>
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor query, Tensor key, Tensor value, Tensor decay, Tensor strength, Tensor? initialState, SequenceLayout? layout)
    {
        using var scope = NewDisposeScope();
        var inputs = new GatedDeltaInputs(query.to(value.dtype), key.to(value.dtype), value, decay, strength, initialState, layout?.Starts,
            layout?.Lengths);
        var results = Autograd.Apply(inputs.Tensors[..6],
            context =>
            {
                context.Save(inputs.Tensors);
                return Forward(inputs);
            },
            context => Backward(GatedDeltaInputs.From(context.Saved), context.Gradients[0], context.Gradients[1]));
        return (results[0].MoveToOuterDisposeScope(), results[1].MoveToOuterDisposeScope());
    }

    static Tensor[] Forward(in GatedDeltaInputs inputs)
    {
        long batch = inputs.Value.size(0);
        var output = CudaMemory.NewLike(inputs.Value);
        var final = CudaMemory.New(output, ScalarType.Float32, batch, inputs.Value.size(2), inputs.Key.size(3), inputs.Value.size(3));
        foreach (var (first, count) in Parts(inputs))
        {
            using var scope = NewDisposeScope();
            new GatedDeltaCall(inputs.Rows(first, count)).Forward(output.narrow(0, first, count), final.narrow(0, first, count));
        }
        return [output, final];
    }

    static Tensor?[] Backward(in GatedDeltaInputs inputs, Tensor? gradient, Tensor? finalGradient)
    {
        var (key, value, decay) = (inputs.Key, inputs.Value, inputs.Decay);
        Tensor Sums() => CudaMemory.New(value, ScalarType.Float32, decay.size(0), decay.size(1), decay.size(2));
        Tensor Keys() => CudaMemory.New(value, ScalarType.BFloat16, key.size(0), key.size(1), key.size(2), key.size(3));
        var gradients = new GatedDeltaGradients(Keys(), Keys(), CudaMemory.NewLike(value), Sums(), Sums(),
            inputs.InitialState is null ? null : CudaMemory.New(value, ScalarType.Float32, value.size(0), value.size(2), key.size(3), value.size(3)));
        gradient = gradient?.to(value.dtype) ?? zeros_like(value);
        foreach (var (first, count) in Parts(inputs))
        {
            using var scope = NewDisposeScope();
            new GatedDeltaCall(inputs.Rows(first, count)).Backward(gradient.narrow(0, first, count), finalGradient?.narrow(0, first, count),
                gradients.Rows(first, count));
        }
        return [gradients.Query, gradients.Key, gradients.Value, gradients.Decay.to(decay.dtype), gradients.Strength.to(inputs.Strength.dtype),
            gradients.InitialState];
    }

    // the rows that are processed together
    static IEnumerable<(long First, long Count)> Parts(GatedDeltaInputs inputs)
    {
        long batch = inputs.Value.size(0), rows = Math.Clamp(BytesAtATime / GatedDeltaCall.RowBytes(inputs.Key, inputs.Value), 1, MaxGrid);
        for (long first = 0; first < batch; first += rows) yield return (first, Math.Min(rows, batch - first));
    }
}
