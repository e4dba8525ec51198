using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class MasterWeightLinearTests
{
    // the gradients of x, weights and biases of several projections, with incoming gradients that differ
    static Tensor[] Gradients(
        Func<Tensor, (Tensor Weight, Tensor? Bias)[], Tensor[]> project, Tensor x, (Tensor Weight, Tensor? Bias)[] given, Tensor[] directions)
    {
        Tensor Leaf(Tensor value) => value.detach().clone().requires_grad_();
        var input = Leaf(x);
        var leaves = Array.ConvertAll(given, item => (Weight: Leaf(item.Weight), Bias: item.Bias is null ? null : Leaf(item.Bias)));
        var outputs = project(input, leaves);
        Autograd.Backward(outputs, Array.ConvertAll(directions, direction => direction.to(outputs[0].dtype)));
        return [.. outputs.Select(output => output.detach()), input.grad!, .. leaves.Select(leaf => leaf.Weight.grad!),
            .. leaves.Where(leaf => leaf.Bias is not null).Select(leaf => leaf.Bias!.grad!)];
    }

    static Tensor[] Composed(Tensor x, (Tensor Weight, Tensor? Bias)[] given) =>
        Array.ConvertAll(given, item => nn.functional.linear(x, item.Weight.to(x.dtype), item.Bias?.to(x.dtype)));

    [Theory]
    [InlineData(1), InlineData(3)]
    public void Errors_are_at_most_twice_those_of_composed_operators(int projections)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var x = randn(4, 19, 24).to(ScalarType.BFloat16);
        var given = Enumerable.Range(0, projections).Select(i => (Weight: randn(8 + 16 * i, 24), Bias: i == 1 ? randn(24) : null)).ToArray();
        var directions = Array.ConvertAll(given, item => randn(4, 19, item.Weight.size(0)).to(ScalarType.BFloat16));
        Assert.True(MasterWeightLinear.Serves(x, given[0].Weight.requires_grad_(), null));
        var own = Gradients(static (input, leaves) => MasterWeightLinear.Forward(input, leaves), x, given, directions);
        var composed = Gradients(Composed, x, given, directions);
        // of the weights as the products read them
        var exact = Gradients(Composed, x.to(ScalarType.Float64), Array.ConvertAll(given, item => (Wide(item.Weight)!, Wide(item.Bias))),
            Array.ConvertAll(directions, direction => direction.to(ScalarType.Float64)));
        Assert.Equal(exact.Length, own.Length);
        for (int i = 0; i < own.Length; i++)
        {
            Assert.Equal(i <= projections ? ScalarType.BFloat16 : ScalarType.Float32, own[i].dtype);
            OperatorCheck.ErrsAtMostTwice($"result {i}", own[i].to(ScalarType.Float64), composed[i].to(ScalarType.Float64), exact[i]);
        }
    }

    static Tensor? Wide(Tensor? value) => value?.detach().to(ScalarType.BFloat16).to(ScalarType.Float64);

    [Fact]
    public void Only_needed_gradients_are_computed_and_an_unused_projection_has_none()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var x = randn(5, 8).to(ScalarType.BFloat16).requires_grad_();
        var (frozen, trained, unused) = (randn(3, 8), randn(4, 8).requires_grad_(), randn(2, 8).requires_grad_());
        var outputs = MasterWeightLinear.Forward(x, [(frozen, null), (trained, null), (unused, null)]);
        Autograd.Backward(outputs[0].sum().add(outputs[1].sum(), Scalars.One));
        Assert.NotNull(x.grad);
        Assert.NotNull(trained.grad);
        Assert.Null(frozen.grad);
        Assert.Equal(0, unused.grad?.abs().sum().item<float>() ?? 0);
    }

    [Fact]
    public void Other_types_and_passes_without_gradients_are_not_served()
    {
        using var scope = NewDisposeScope();
        var (x, weight) = (randn(5, 8), randn(3, 8).requires_grad_());
        Assert.False(MasterWeightLinear.Serves(x, weight, null));
        Assert.False(MasterWeightLinear.Serves(x.to(ScalarType.BFloat16), weight.to(ScalarType.BFloat16), null));
        using var noGrad = no_grad();
        Assert.False(MasterWeightLinear.Serves(x.to(ScalarType.BFloat16), weight, null));
    }
}
