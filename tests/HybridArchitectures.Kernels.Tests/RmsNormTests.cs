using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class RmsNormTests
{
    [Theory]
    [InlineData(1, 1, 1, true)]
    [InlineData(3, 7, 1, true)]
    [InlineData(5, 123, 1, false)]
    [InlineData(9, 41, 1, true)]
    [InlineData(4, 96, 8, true)]
    [InlineData(4, 96, 96, false)]
    [InlineData(300, 128, 2, true)]
    [InlineData(2, 1000, 1, true)]
    public void Gradients_match_float64_reference(int rows, int width, int groups, bool weighted)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        OperatorCheck.MatchesReference(
            inputs => RmsNorm.Forward(inputs[0]!, inputs[1], 1e-5, groups),
            inputs => RmsNormReference.Forward(inputs[0]!, inputs[1], 1e-5, groups),
            [OperatorCheck.Normal(rows, width), weighted ? OperatorCheck.Normal(width) : null]);
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(4, false)]
    public void BFloat16_is_as_good_as_composed_operators(int groups, bool weightInFloat32)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Tensor Composed(IReadOnlyList<Tensor?> inputs)
        {
            var x = inputs[0]!.unflatten(1, groups, 260 / groups);
            return (x * rsqrt(x.square().mean([-1], true) + 1e-5)).flatten(-2) * inputs[1]!.to(ScalarType.BFloat16);
        }
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            inputs => RmsNorm.Forward(inputs[0]!, inputs[1], 1e-5, groups), Composed,
            inputs => RmsNormReference.Forward(inputs[0]!, inputs[1], 1e-5, groups),
            [OperatorCheck.Normal(37, 260), OperatorCheck.Normal(260)], weightInFloat32 ? [1] : []);
    }

    [Fact]
    public void Strided_input_equals_its_copy()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var wide = randn(4, 6, 50); var weight = randn(24);
        foreach (var view in new[] { wide.narrow(-1, 5, 24), wide.transpose(0, 1).narrow(-1, 0, 24), wide.narrow(-1, 0, 48).slice(-1, 0, 48, 2),
            wide.narrow(0, 1, 1).expand(5, 6, 50).narrow(-1, 1, 24) })
            Assert.True(RmsNorm.Forward(view, weight).equal(RmsNorm.Forward(view.clone(), weight)).all().item<bool>());
    }

    [Fact]
    public void An_empty_batch_is_an_empty_batch()
    {
        using var scope = NewDisposeScope();
        Assert.Equal([0, 5, 8], RmsNorm.Forward(zeros(0, 5, 8), ones(8)).shape);
    }

    [Fact]
    public void Huge_and_tiny_values_stay_finite()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new float[] { 1e18f, -1e18f, 0, 0, 1e-30f, 0, 0, 0 }).reshape(2, 4).requires_grad_();
        var y = RmsNorm.Forward(x, null);
        Autograd.Backward(y.sum());
        Assert.True(y.isfinite().all().item<bool>() && x.grad!.isfinite().all().item<bool>());
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var x = zeros(2, 8);
        Refusal.Expect("x", "Int64", () => RmsNorm.Forward(zeros(2, 8, ScalarType.Int64), null));
        Refusal.Expect("x", "()", () => RmsNorm.Forward(tensor(1f), null));
        Refusal.Expect("weight", "(7)", () => RmsNorm.Forward(x, zeros(7)));
        Refusal.Expect("weight", "Float64", () => RmsNorm.Forward(x, zeros(8, ScalarType.Float64)));
        Refusal.Expect("epsilon", "-1", () => RmsNorm.Forward(x, null, -1));
        Refusal.Expect("epsilon", "NaN", () => RmsNorm.Forward(x, null, double.NaN));
        Refusal.Expect("groups", "3", () => RmsNorm.Forward(x, null, groups: 3));
        Refusal.Expect("groups", "0", () => RmsNorm.Forward(x, null, groups: 0));
        Refusal.Expect("x", "", () => RmsNorm.Forward(null!, null));
    }
}
