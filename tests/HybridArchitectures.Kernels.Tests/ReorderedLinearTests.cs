using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class ReorderedLinearTests
{
    static RowOrder Order(long rows)
    {
        var order = randperm(rows, ScalarType.Int64);
        return new(order, order.argsort());
    }

    static Tensor[] Differentiate(Func<Tensor, Tensor, Tensor> project, Tensor x, Tensor weight)
    {
        Tensor[] leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()];
        var output = project(leaves[0], leaves[1]);
        Autograd.Backward(output, OperatorCheck.Direction(output));
        return [output.detach(), .. leaves.Select(leaf => leaf.grad!)];
    }

    [Fact]
    public void Outputs_and_gradients_are_those_of_gathered_outputs()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var rows = Order(12);
        var (x, weight) = (randn(2, 5, 8, ScalarType.Float64), randn(12, 8, ScalarType.Float64));
        var expected = Differentiate((input, w) => nn.functional.linear(input, w).index_select(-1, rows.Order), x, weight);
        var own = Differentiate((input, w) => ReorderedLinear.Forward(input, w, rows), x, weight);
        for (int i = 0; i < own.Length; i++) OperatorCheck.Close(expected[i], own[i], 1e-12, $"result {i}");
    }

    [Fact]
    public void Gradients_of_float32_weights_are_float32_for_bfloat16_activations()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var rows = Order(16);
        var (x, weight) = (randn(40, 8).to(ScalarType.BFloat16), randn(16, 8));
        var expected = Differentiate((input, w) => MasterWeightLinear.Forward(input, [(w, null)])[0].index_select(-1, rows.Order), x, weight);
        var own = Differentiate((input, w) => ReorderedLinear.Forward(input, w, rows), x, weight);
        Assert.Equal(expected.Select(result => result.dtype), own.Select(result => result.dtype));
        // sums over outputs are in another order
        for (int i = 0; i < own.Length; i++) OperatorCheck.Close(expected[i].to(ScalarType.Float64), own[i], 0.02, $"result {i}");
    }

    [Fact]
    public void Frozen_weights_and_steps_without_gradients()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var (x, weight) = (randn(3, 8).requires_grad_(), randn(4, 8));
        Assert.True(ReorderedLinear.Serves(x, weight));
        Autograd.Backward(ReorderedLinear.Forward(x, weight, Order(4)).sum());
        OperatorCheck.Close(weight.sum(dim: 0).expand(3, 8).to(ScalarType.Float64), x.grad!, 1e-6, "gradient of x");
        Assert.False(ReorderedLinear.Serves(x.detach(), weight));
        Assert.False(ReorderedLinear.Serves(x, weight.to(ScalarType.Float64)));
        using var noGrad = no_grad();
        Assert.False(ReorderedLinear.Serves(x, weight));
    }
}
