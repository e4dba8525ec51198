using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes a projection whose outputs are wanted in another order than that of the rows of its weight, so that outputs that are read together are
/// neighbours. Rows of the weight are gathered for the products, and those of its gradient are gathered back. For many tokens, this moves less memory
/// than gathering the outputs and joining their gradients.
/// </summary>
static class ReorderedLinear
{
    // X is null if the weight is not trained; the weight has its own order, and the dtype of the activations
    sealed record Saved(Tensor? X, long[] Shape, Tensor Weight, RowOrder Rows, ScalarType ParameterType) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) =>
            this with { X = replace(X), Weight = replace(Weight)!, Rows = new(replace(Rows.Order)!, replace(Rows.Inverse)!) };
    }

    /// <summary>
    /// Returns whether the operator serves a projection: its gradient is needed, and types and devices are those of a training step.
    /// </summary>
    public static bool Serves(Tensor x, Tensor weight) => is_grad_enabled() && (x.requires_grad || weight.requires_grad) && x.NumberOfElements > 0
        && x.device_type == weight.device_type && (weight.dtype == x.dtype || MasterWeightLinear.HaveTypes(x, weight, null));

    /// <summary>Computes x W^T with the outputs in the given order.</summary>
    /// <param name="x">The input, shape (..., inputs).</param>
    /// <param name="weight">The weight, shape (outputs, inputs), in the dtype of <paramref name="x"/>, or float32 for bfloat16 activations.</param>
    /// <param name="rows">The order of the rows of the weight.</param>
    /// <returns>The output, shape (..., outputs), in the dtype of <paramref name="x"/>. Output i is that of row Order[i] of the weight.</returns>
    public static Tensor Forward(Tensor x, Tensor weight, RowOrder rows) => Autograd.Apply<Saved>([x, weight], _ =>
    {
        var factor = weight.dtype == x.dtype ? weight : MasterWeightLinear.Copy(weight, x.dtype);
        var output = nn.functional.linear(x, factor.index_select(0, rows.Order));
        return ([output], new(weight.requires_grad ? x : null, x.shape, factor, rows, weight.dtype));
    }, Backward)[0];

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var (x, shape, weight, rows, type) = saved;
        var gradient = context.Gradients[0]!.reshape(-1, weight.size(0));
        var dX = context.Needs(0) ? gradient.mm(weight.index_select(0, rows.Order)).view(shape) : null;
        if (!context.Needs(1)) return [dX, null];
        return [dX, RecomputedLinear.WeightGradient(gradient, x!.reshape(-1, shape[^1]), type).index_select(0, rows.Inverse)];
    }
}
