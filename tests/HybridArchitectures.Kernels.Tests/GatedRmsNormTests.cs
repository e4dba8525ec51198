using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class GatedRmsNormTests
{
    [Theory]
    [InlineData(1, 1, 1, true)]
    [InlineData(5, 123, 1, false)]
    [InlineData(9, 42, 2, true)]
    [InlineData(4, 96, 8, true)]
    [InlineData(300, 64, 1, true)]
    [InlineData(2, 1000, 1, true)]
    public void Gradients_match_float64_reference(int rows, int width, int groups, bool weighted)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        foreach (bool normBeforeGate in new[] { false, true })
            OperatorCheck.MatchesReference(
                inputs => GatedRmsNorm.Forward(inputs[0]!, inputs[1]!, inputs[2], 1e-5, groups, normBeforeGate),
                inputs => GatedRmsNormReference.Forward(inputs[0]!, inputs[1]!, inputs[2], 1e-5, groups, normBeforeGate),
                [OperatorCheck.Normal(rows, width), OperatorCheck.Normal(rows, width), weighted ? OperatorCheck.Normal(width) : null]);
    }

    [Theory]
    [InlineData(1, true, false)]
    [InlineData(4, false, true)]
    public void BFloat16_is_as_good_as_composed_operators(int groups, bool weightInFloat32, bool normBeforeGate)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Tensor Composed(IReadOnlyList<Tensor?> inputs)
        {
            var open = nn.functional.silu(inputs[1]!);
            var x = (normBeforeGate ? inputs[0]! : inputs[0]! * open).unflatten(1, groups, 260 / groups);
            var normed = (x * rsqrt(x.square().mean([-1], true) + 1e-5)).flatten(-2) * inputs[2]!.to(ScalarType.BFloat16);
            return normBeforeGate ? normed * open : normed;
        }
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            inputs => GatedRmsNorm.Forward(inputs[0]!, inputs[1]!, inputs[2], 1e-5, groups, normBeforeGate), Composed,
            inputs => GatedRmsNormReference.Forward(inputs[0]!, inputs[1]!, inputs[2], 1e-5, groups, normBeforeGate),
            [OperatorCheck.Normal(37, 260), OperatorCheck.Normal(37, 260), OperatorCheck.Normal(260)], weightInFloat32 ? [2] : []);
    }

    [Fact]
    public void A_gate_of_zero_gives_zero_and_finite_gradients()
    {
        using var scope = NewDisposeScope();
        var x = ones(2, 8).requires_grad_(); var gate = zeros(2, 8).requires_grad_();
        var y = GatedRmsNorm.Forward(x, gate, null);
        Autograd.Backward(y.sum());
        Assert.Equal(0f, y.abs().sum().item<float>());
        Assert.True(x.grad!.isfinite().all().item<bool>() && gate.grad!.isfinite().all().item<bool>());
    }

    [Fact]
    public void Closed_and_wide_open_gates_stay_finite()
    {
        using var scope = NewDisposeScope();
        var x = ones(2, 4).requires_grad_();
        var gate = tensor(new float[] { -1e4f, 1e4f, -100, 100, -88, 88, -30, 30 }).reshape(2, 4).requires_grad_();
        foreach (bool normBeforeGate in new[] { false, true })
        {
            var y = GatedRmsNorm.Forward(x, gate, null, normBeforeGate: normBeforeGate);
            Autograd.Backward(y.sum());
            Assert.True(y.isfinite().all().item<bool>() && x.grad!.isfinite().all().item<bool>() && gate.grad!.isfinite().all().item<bool>());
            OperatorCheck.Close(GatedRmsNormReference.Forward(x, gate, null, normBeforeGate: normBeforeGate).detach(), y.detach(), 1e-5,
                "the output");
        }
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var x = zeros(2, 8);
        Refusal.Expect("gate", "(2, 7)", () => GatedRmsNorm.Forward(x, zeros(2, 7), null));
        Refusal.Expect("gate", "BFloat16", () => GatedRmsNorm.Forward(x, x.to(ScalarType.BFloat16), null));
        Refusal.Expect("gate", "", () => GatedRmsNorm.Forward(x, null!, null));
        Refusal.Expect("weight", "(1)", () => GatedRmsNorm.Forward(x, x, zeros(1)));
        Refusal.Expect("groups", "5", () => GatedRmsNorm.Forward(x, x, null, groups: 5));
        Refusal.Expect("epsilon", "0", () => GatedRmsNorm.Forward(x, x, null, epsilon: 0));
    }
}
