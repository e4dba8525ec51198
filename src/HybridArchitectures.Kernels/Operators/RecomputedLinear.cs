using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes an operator and the projection of its output as one operator, which does not save that output.
/// <para>
/// 1. Forward computes the output of the operator and its product with the weight, and saves the inputs of the operator.
/// 2. Backward computes the gradient of the output, and from it the gradients of the inputs. The kernel that does this reads all that the output
/// depends on, and writes the output again.
/// 3. The gradient of the weight is the product of the incoming gradient and that output.
/// </para>
/// All results have the bits of the two operators one after the other.
/// </summary>
static class RecomputedLinear
{
    // the weight is in the dtype of the activations, a copy if parameters have another
    sealed record Saved<TInput>(TInput Input, Tensor Weight, ScalarType ParameterType) : ISavedTensors<Saved<TInput>>
        where TInput : class, IProjectionInput<TInput>
    {
        public Saved<TInput> Map(Func<Tensor?, Tensor?> replace) => this with { Input = Input.Map(replace), Weight = replace(Weight)! };
    }

    /// <summary>Returns whether the input is computed again instead of saved.</summary>
    public static bool Recomputes<TInput>(TInput input) where TInput : class, IProjectionInput<TInput> =>
        is_grad_enabled() && OperatorOptions.Current.RecomputeInputs && input.HasKernels;

    /// <summary>Returns whether the operator serves a projection. Without a gradient, it would save nothing.</summary>
    public static bool Serves<TInput>(TInput input, Tensor weight, Tensor? bias) where TInput : class, IProjectionInput<TInput>
    {
        var like = input.Like;
        if (!Recomputes(input)) return false;
        if (weight.size(1) != input.Shape[^1] || weight.device_type != like.device_type) return false;
        return (weight.dtype == like.dtype && (bias is null || bias.dtype == like.dtype)) || MasterWeightLinear.HaveTypes(like, weight, bias);
    }

    /// <summary>Computes f W^T + b.</summary>
    /// <param name="input">The operator that computes f, shape (..., inputs).</param>
    /// <param name="weight">The weight, shape (outputs, inputs), in the dtype of f, or float32 for bfloat16 f.</param>
    /// <param name="bias">The bias, shape (outputs), in the dtype of the weight. Null means none.</param>
    /// <param name="omitsOutput">
    /// Whether only gradients are needed, so that the output has undefined values and costs no product. The default is false.
    /// </param>
    /// <returns>The output, shape (..., outputs), in the dtype of f.</returns>
    public static Tensor Forward<TInput>(TInput input, Tensor weight, Tensor? bias, bool omitsOutput = false)
        where TInput : class, IProjectionInput<TInput> => Autograd.Apply<Saved<TInput>>([.. input.Differentiable, weight, bias], _ =>
        {
            if (omitsOutput && input.Known is { } known)
            {
                var like = known.Like;
                var copy = weight.dtype == like.dtype ? weight : MasterWeightLinear.Copy(weight, like.dtype);
                return ([empty([.. known.Shape[..^1], weight.size(0)], like.dtype, like.device)], new(known, copy, weight.dtype));
            }
            var (x, saved) = input.Compute();
            var factor = weight.dtype == x.dtype ? weight : MasterWeightLinear.Copy(weight, x.dtype);
            return ([nn.functional.linear(x, factor, bias?.to(x.dtype))], new(saved, factor, weight.dtype));
        }, Backward)[0];

    static Tensor?[] Backward<TInput>(BackwardContext context, Saved<TInput> saved) where TInput : class, IProjectionInput<TInput>
    {
        var (input, weight, type) = saved;
        int count = input.Differentiable.Count;
        var gradient = context.Gradients[0]!.reshape(-1, weight.size(0));
        var (gradients, x) = input.Differentiate(gradient.mm(weight).view(input.Shape), context, wantsOutput: context.Needs(count));
        var dWeight = x is null ? null : WeightGradient(gradient, x.view(-1, weight.size(1)), type);
        return [.. gradients, dWeight, context.Needs(count + 1) ? gradient.sum(0, type: type) : null];
    }

    /// <summary>Returns the gradient of a weight in its type from those of the outputs and the inputs, both rows of one type.</summary>
    public static Tensor WeightGradient(Tensor gradient, Tensor x, ScalarType type) =>
        type == x.dtype ? gradient.t().mm(x) : MasterWeightLinear.WeightGradient(gradient, x);
}
