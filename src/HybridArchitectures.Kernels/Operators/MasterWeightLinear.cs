using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes projections of bfloat16 activations by float32 weights, which are cast to bfloat16 for the products. The gradients of the weights are
/// products with a float32 result where cuBLAS offers them, so that they are neither rounded to bfloat16 nor cast back. The gradient of the input of
/// several projections is summed by the products themselves.
/// </summary>
static class MasterWeightLinear
{
    // X is null if no weight is trained; weights are in bfloat16
    sealed record Saved(Tensor? X, long[] Shape, Tensor[] Weights) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(replace(X), Shape, Array.ConvertAll(Weights, weight => replace(weight)!));
    }

    /// <summary>Returns whether the operator serves a projection: its gradient is needed, and its types are bfloat16 and float32.</summary>
    public static bool Serves(Tensor x, Tensor weight, Tensor? bias) =>
        HaveTypes(x, weight, bias) && is_grad_enabled() && (x.requires_grad || weight.requires_grad || bias is { requires_grad: true });

    /// <summary>Returns whether the input is bfloat16, and weight and bias are float32.</summary>
    public static bool HaveTypes(Tensor x, Tensor weight, Tensor? bias) =>
        x.dtype == ScalarType.BFloat16 && weight.dtype == ScalarType.Float32 && bias?.dtype is null or ScalarType.Float32;

    /// <summary>Returns a float32 weight in the type of the activations: the copy that the optimizer has written, if there is one.</summary>
    public static Tensor Copy(Tensor weight, ScalarType type) =>
        (type == ScalarType.BFloat16 ? WeightCopies.Find(weight) : null) ?? weight.to(type);

    /// <summary>Computes x W^T + b of every projection.</summary>
    /// <param name="x">The input, shape (..., inputs), bfloat16.</param>
    /// <param name="projections">Weights of shape (outputs, inputs) and biases of shape (outputs), float32.</param>
    /// <returns>The outputs, shape (..., outputs), bfloat16.</returns>
    public static Tensor[] Forward(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> projections)
    {
        var given = projections.ToArray();
        // x, then every weight, then every bias
        Tensor?[] inputs = [x, .. given.Select(item => item.Weight), .. given.Select(item => item.Bias)];
        return Autograd.Apply<Saved>(inputs, _ =>
        {
            var weights = Array.ConvertAll(given, item => Copy(item.Weight, x.dtype));
            var outputs = new Tensor[given.Length];
            for (int i = 0; i < outputs.Length; i++) outputs[i] = nn.functional.linear(x, weights[i], given[i].Bias?.to(x.dtype));
            return (outputs, new Saved(Array.Exists(given, item => item.Weight.requires_grad) ? x : null, x.shape, weights));
        }, Backward);
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        int count = saved.Weights.Length;
        var results = new Tensor?[1 + 2 * count];
        var x = saved.X?.reshape(-1, saved.Shape[^1]);
        for (int i = 0; i < count; i++)
        {
            if (context.Gradients[i] is not { } incoming) continue;
            var gradient = incoming.reshape(-1, incoming.size(-1));
            if (context.Needs(0))
            {
                if (results[0] is { } sum) AddProduct(sum, gradient, saved.Weights[i]);
                else results[0] = gradient.mm(saved.Weights[i]);
            }
            if (context.Needs(1 + i)) results[1 + i] = WeightGradient(gradient, x!);
            if (context.Needs(1 + count + i)) results[1 + count + i] = gradient.sum(0, type: ScalarType.Float32);
        }
        results[0] = results[0]?.view(saved.Shape);
        return results;
    }

    // sum + gradient weight, rounded once
    static void AddProduct(Tensor sum, Tensor gradient, Tensor weight) => sum.addmm_(gradient, weight, 1, 1);

    /// <summary>Returns the gradient of a weight, float32, from those of the outputs and the inputs, both bfloat16 rows.</summary>
    public static Tensor WeightGradient(Tensor gradient, Tensor x)
    {
        var result = empty([gradient.size(1), x.size(1)], ScalarType.Float32, x.device);
        return x.size(0) > 0 && CudaBlas.TryProduct(result, gradient, true, x, add: false) ? result : gradient.t().mm(x).to(ScalarType.Float32);
    }
}
