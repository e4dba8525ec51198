using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Compares projections that compute their input again with projections of a saved input, to the bit.</summary>
static class RecomputedLinearOperator
{
    /// <summary>Contains the outputs and gradients of one pass, and the bytes that its operators saved, without those of libtorch.</summary>
    sealed record Pass(Tensor[] Results, long SavedBytes);

    /// <summary>The operator before a projection, from its inputs.</summary>
    public delegate TInput Make<TInput>(IReadOnlyList<Tensor> inputs);

    /// <summary>Compares outputs, gradients and saved bytes.</summary>
    /// <param name="make">Creates the operator.</param>
    /// <param name="inputs">Its inputs.</param>
    /// <param name="type">The type of all inputs but those with one dimension, and of the output.</param>
    /// <param name="weightType">The type of the weight, the bias and inputs with one dimension.</param>
    /// <param name="bias">Whether the projection has a bias.</param>
    /// <param name="frozen">Whether the weight requires no gradient.</param>
    public static void EqualsProjectionOfSavedInput<TInput>(
        Make<TInput> make, IReadOnlyList<Tensor> inputs, ScalarType type, ScalarType weightType, bool bias = false, bool frozen = false)
        where TInput : class, IProjectionInput<TInput>
    {
        using var scope = NewDisposeScope();
        long width = make(inputs).Shape[^1];
        var device = inputs[0].device;
        var (weight, shift) = (randn(11, width).to(device), randn(11).to(device));
        Pass Run(Func<TInput, Tensor, Tensor?, Tensor> project) => Differentiate(leaves =>
            project(make([.. leaves[..inputs.Count]]), leaves[^2], bias ? leaves[^1] : null),
            [.. inputs.Select(input => input.to(input.dim() == 1 ? weightType : type)), weight.to(weightType), shift.to(weightType)],
            frozen ? inputs.Count : -1);
        var own = Run((input, factor, added) =>
        {
            Assert.True(RecomputedLinear.Serves(input, factor, added));
            return RecomputedLinear.Forward(input, factor, added);
        });
        var expected = Run((input, factor, added) => factor.dtype == type ? nn.functional.linear(input.Forward(), factor, added)
            : MasterWeightLinear.Forward(input.Forward(), [(factor, added)])[0]);
        Assert.Equal(expected.Results.Length, own.Results.Length);
        for (int i = 0; i < own.Results.Length; i++)
        {
            Assert.Equal(expected.Results[i].dtype, own.Results[i].dtype);
            Assert.True(expected.Results[i].equal(own.Results[i]).all().item<bool>(), $"result {i} differs");
        }
        // a product with a weight of the same type is libtorch's, whose saved tensors are not counted; that of a frozen weight saves no input
        long input = make(inputs).Shape.Aggregate(1L, (product, size) => product * size) * type.ElementSize();
        if (weightType != type) Assert.Equal(expected.SavedBytes - (frozen ? 0 : input), own.SavedBytes);
    }

    static Pass Differentiate(Func<Tensor[], Tensor> run, Tensor[] values, int frozen)
    {
        var leaves = Array.ConvertAll(values, value => value.detach().clone().requires_grad_());
        if (frozen >= 0) leaves[frozen].requires_grad_(false);
        var before = AutogradNode.Nodes;
        var output = run(leaves);
        long saved = AutogradNode.Nodes.Except(before).Sum(node => node.SavedBytes());
        Autograd.Backward(output, OperatorCheck.Direction(output));
        return new([output.detach(), .. leaves.Select(leaf => leaf.grad).OfType<Tensor>()], saved);
    }

    /// <summary>Compares output and gradients with the formula in float64. The last two inputs are those of the projection.</summary>
    public static void MatchesReference<TInput>(Make<TInput> make, OperatorCheck.Operator reference, IReadOnlyList<Tensor> inputs)
        where TInput : class, IProjectionInput<TInput>
    {
        long width = make(inputs).Shape[^1];
        OperatorCheck.MatchesReference(
            given => RecomputedLinear.Forward(make([.. given.Take(inputs.Count).OfType<Tensor>()]), given[^2]!, given[^1]),
            given => nn.functional.linear(reference(given), given[^2]!, given[^1]),
            [.. inputs, OperatorCheck.Normal(9, width), OperatorCheck.Normal(9)]);
    }
}
