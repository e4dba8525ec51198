using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Compares linear cross entropy on a GPU with the same function with all logits in memory.</summary>
[Trait("device", "cuda")]
public class LinearCrossEntropyDeviceTests
{
    static Tensor Normal(params long[] size) => randn(size, ScalarType.Float64, Gpu.Device);

    static Tensor Targets(long tokens, long vocabulary, double ignored) =>
        randint(0, vocabulary, [tokens], ScalarType.Int64, Gpu.Device).masked_fill(rand([tokens], ScalarType.Float32, Gpu.Device).lt(ignored), -100);

    [Theory]
    // tokens, classes, width, smoothing, z-loss, bias, scale
    [InlineData(1024, 4096, 128, 0, 0, false, 1)]
    [InlineData(188, 123, 31, 0.1, 1e-4, true, 1)]
    [InlineData(256, 512, 128, 0, 0, false, 1)]
    [InlineData(252, 507, 128, 0.1, 0, false, 1)]
    [InlineData(252, 507, 123, 0, 1e-4, true, 0.7)]
    [InlineData(1, 192, 64, 0, 0, false, 1)]
    [InlineData(289, 668, 64, 0, 0, false, 1)]
    [InlineData(289, 1128, 64, 0.1, 1e-4, true, 0.5)]
    [InlineData(289, 32_768, 64, 0, 0, false, 1)]
    [InlineData(289, 128_256, 64, 0.1, 1e-4, false, 1)]
    [InlineData(129, 262_144, 32, 0, 0, false, 1)]
    [InlineData(4099, 1000, 96, 0, 0, false, 1)]
    [InlineData(70_000, 65, 24, 0, 0, false, 1)]
    public void Errors_are_at_most_twice_those_of_composed_operators(
        int tokens, int vocabulary, int width, double smoothing, double zLoss, bool bias, double scale)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var targets = Targets(tokens, vocabulary, tokens > 1 ? 0.3 : 0);
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
        {
            Tensor?[] inputs = [Normal(tokens, width), Normal(vocabulary, width) * 0.3, bias ? Normal(vocabulary) : null];
            OperatorCheck.IsAsGoodAsComposed(type,
                i =>
                {
                    Gpu.PoisonFreeBlocks();
                    return LinearCrossEntropy.Forward(i[0]!, i[1]!, targets, -100, smoothing, zLoss, i[2], scale);
                },
                i => LinearCrossEntropyReference.Forward(i[0]!, i[1]!, targets, -100, smoothing, zLoss, i[2], scale),
                i => LinearCrossEntropyReference.Forward(i[0]!, i[1]!, targets, -100, smoothing, zLoss, i[2], scale),
                inputs);
            // the losses of tokens, and how far their mean may be off by that
            using var noGrad = no_grad();
            var rounded = inputs.Select(input => input?.to(type)).ToArray();
            var exactInputs = rounded.Select(input => input?.to(ScalarType.Float64)).ToArray();
            Tensor Exact(Func<Tensor, Tensor, Tensor?, Tensor> call) => call(exactInputs[0]!, exactInputs[1]!, exactInputs[2]).to(ScalarType.Float64);
            Tensor Rounded(Func<Tensor, Tensor, Tensor?, Tensor> call) => call(rounded[0]!, rounded[1]!, rounded[2]).to(ScalarType.Float64);
            var exact = Exact((h, w, b) => LinearCrossEntropyReference.TokenLosses(h, w, targets, -100, b, scale));
            var composed = Rounded((h, w, b) => LinearCrossEntropyReference.TokenLosses(h, w, targets, -100, b, scale));
            OperatorCheck.ErrsAtMostTwice(
                $"{type}, losses of tokens", Rounded((h, w, b) => LinearCrossEntropy.TokenLosses(h, w, targets, -100, b, scale)), composed, exact);
            double allowed = 2 * (composed - exact).square().sum().div(targets.ne(-100).sum().clamp_min(1)).sqrt().item<double>()
                + 1e-6 * exact.abs().max().item<double>();
            var mean = Exact((h, w, b) => LinearCrossEntropyReference.Forward(h, w, targets, -100, smoothing, zLoss, b, scale));
            var own = Rounded((h, w, b) => LinearCrossEntropy.Forward(h, w, targets, -100, smoothing, zLoss, b, scale));
            // the penalty's slope is 2 zLoss logsumexp, far below 1 here
            Assert.InRange((own - mean).abs().item<double>(), 0, 1.1 * allowed);
        }
    }

    [Fact]
    public void Losses_of_tokens_are_those_of_all_logits_and_their_mean_is_the_loss()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        using var noGrad = no_grad();
        var (hidden, weight, targets) =
            (Normal(1000, 64).to(ScalarType.Float32), Normal(5000, 64).mul(Scalars.From(0.3)).to(ScalarType.Float32), Targets(1000, 5000, 0.3));
        var expected = LinearCrossEntropyReference.TokenLosses(hidden.to(ScalarType.Float64), weight.to(ScalarType.Float64), targets);
        var losses = LinearCrossEntropy.TokenLosses(hidden, weight, targets);
        OperatorCheck.Close(expected, losses, 1e-5, "losses of tokens");
        var mean = losses.to(ScalarType.Float64).sum() / targets.ne(-100).sum();
        OperatorCheck.Close(mean, LinearCrossEntropy.Forward(hidden, weight, targets), 1e-6, "the loss");
    }

    [Fact]
    public void Extreme_logits_give_finite_losses_and_gradients()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var targets = Targets(64, 1000, 0);
        foreach (double size in new[] { 1e3, 1e-6 })
        {
            var (hidden, weight) = ((Normal(64, 32) * size).to(ScalarType.Float32).requires_grad_(),
                (Normal(1000, 32) * size).to(ScalarType.Float32).requires_grad_());
            var (exactHidden, exactWeight) =
                (hidden.detach().to(ScalarType.Float64).requires_grad_(), weight.detach().to(ScalarType.Float64).requires_grad_());
            var (loss, exact) = (LinearCrossEntropy.Forward(hidden, weight, targets),
                LinearCrossEntropyReference.Forward(exactHidden, exactWeight, targets));
            Autograd.Backward(loss);
            Autograd.Backward(exact);
            OperatorCheck.Close(exact.detach(), loss.detach(), 1e-5, "the loss");
            Assert.True(hidden.grad!.isfinite().all().item<bool>());
            Assert.True(weight.grad!.isfinite().all().item<bool>());
        }
    }

    [Fact]
    public void All_targets_ignored_give_zero_and_zero_gradients()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var (hidden, weight) = (Normal(40, 16).to(ScalarType.BFloat16).requires_grad_(), Normal(90, 16).to(ScalarType.BFloat16).requires_grad_());
        Gpu.PoisonFreeBlocks();
        var loss = LinearCrossEntropy.Forward(hidden, weight, full([40], -100, ScalarType.Int64, Gpu.Device));
        Autograd.Backward(loss);
        Assert.Equal(0, loss.item<float>());
        Assert.Equal(0, hidden.grad!.to(ScalarType.Float32).abs().max().item<float>());
        Assert.Equal(0, weight.grad!.to(ScalarType.Float32).abs().max().item<float>());
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void A_hundred_runs_are_equal_to_the_bit(ScalarType type)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var targets = Targets(1500, 5003, 0.3);
        PointwiseDeviceTests.Repeats(type, i => LinearCrossEntropy.Forward(i[0]!, i[1]!, targets, -100, 0.1, 1e-4), Normal(1500, 128),
            Normal(5003, 128) * 0.3);
    }
}
