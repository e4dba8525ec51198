using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class LinearDistillationTests
{
    static Tensor Targets(long tokens, long vocabulary)
    {
        var targets = randint(0, vocabulary, [tokens], ScalarType.Int64);
        return targets.masked_fill(rand(tokens).lt(0.2), -100);
    }

    // the vocabulary of 9,000 needs several chunks of 64 tokens
    [Theory]
    [InlineData(1, 2, 3, 0.5, 1)]
    [InlineData(47, 123, 31, 1, 1)]
    [InlineData(33, 65, 17, 0, 2)]
    [InlineData(130, 9_000, 5, 0.25, 2)]
    public void Losses_and_gradients_match_float64_reference(int tokens, int vocabulary, int width, double share, double temperature)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var targets = Targets(tokens, vocabulary);
        targets[0] = tensor(1L);
        var weights = rand(tokens);
        Tensor?[] given = [OperatorCheck.Normal(tokens, width), OperatorCheck.Normal(vocabulary, width), OperatorCheck.Normal(tokens, 7),
            OperatorCheck.Normal(vocabulary, 7)];
        foreach (var (tokenWeights, cap) in new[] { ((Tensor?)null, (double?)null), (weights, 2) })
            OperatorCheck.MatchesReference(
                of => LinearDistillation.Forward(
                    of[0]!, of[1]!, of[2]!, of[3]!, targets, share, temperature, -100, 0.7, 1.3, tokenWeights, cap, 3).Total,
                of => LinearDistillationReference.Forward(
                    of[0]!, of[1]!, of[2]!, of[3]!, targets, share, temperature, -100, 0.7, 1.3, tokenWeights, cap, 3).Total, given);
        Assert.Equal(
            LinearDistillationReference.Forward(given[0]!, given[1]!, given[2]!, given[3]!, targets, share, temperature).CrossEntropy.item<double>(),
            LinearDistillation.Forward(given[0]!, given[1]!, given[2]!, given[3]!, targets, share, temperature).CrossEntropy.item<double>(), 1e-12);
    }

    [Fact]
    public void In_float64_the_chunks_are_the_formula_written_out()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        const double Share = 0.3, Temperature = 1.7;
        Tensor Leaf(params long[] size) => randn(size, ScalarType.Float64).requires_grad_();
        var (hidden, weight) = (Leaf(90, 4), Leaf(9_000, 4));
        Tensor teacherHidden = randn([90, 3], ScalarType.Float64), teacherWeight = randn([9_000, 3], ScalarType.Float64);
        var targets = Targets(90, 9_000);
        var loss = LinearDistillation.Forward(hidden, weight, teacherHidden, teacherWeight, targets, Share, Temperature);
        Autograd.Backward(loss.Total);
        var (dHidden, dWeight) = (hidden.grad!, weight.grad!);
        (hidden.grad, weight.grad) = (null, null);

        var counted = targets.ne(-100).nonzero().flatten();
        var logits = hidden.index_select(0, counted).mm(weight.t());
        var p = (teacherHidden.index_select(0, counted).mm(teacherWeight.t()) / Temperature).softmax(-1);
        var q = (logits / Temperature).softmax(-1);
        var divergence = (p * (p.log() - q.log())).sum(-1).mean();
        var entropy = logits.softmax(-1).gather(-1, targets.index_select(0, counted).unsqueeze(-1)).log().mean().neg();
        var total = divergence * (Share * Temperature * Temperature) + entropy * (1 - Share);
        Autograd.Backward(total);
        Assert.Equal(total.item<double>(), loss.Total.item<double>(), 1e-12);
        Assert.Equal(entropy.item<double>(), loss.CrossEntropy.item<double>(), 1e-12);
        Assert.False(loss.CrossEntropy.requires_grad);
        Assert.True((dHidden - hidden.grad!).abs().max().item<double>() < 1e-12);
        Assert.True((dWeight - weight.grad!).abs().max().item<double>() < 1e-12);
    }

    [Fact]
    public void Without_a_target_that_counts_loss_and_gradients_are_0()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var hidden = randn(3, 4).requires_grad_();
        var (total, crossEntropy) = LinearDistillation.Forward(hidden, randn(5, 4), randn(3, 2), randn(5, 2), full([3], -100L, ScalarType.Int64));
        Autograd.Backward(total);
        Assert.Equal((0f, 0f, 0f), (total.item<float>(), crossEntropy.item<float>(), hidden.grad!.abs().max().item<float>()));
    }

    [Fact]
    public void Refusals_name_the_argument()
    {
        using var scope = NewDisposeScope();
        Tensor hidden = zeros(3, 4), weight = zeros(5, 4), targets = zeros([3], ScalarType.Int64);
        void Refused(string name, Action call) => Assert.Equal(name, Assert.ThrowsAny<ArgumentException>(call).ParamName);
        Refused("teacherHidden", () => LinearDistillation.Forward(hidden, weight, zeros(2, 6), zeros(5, 6), targets));
        Refused("teacherWeight", () => LinearDistillation.Forward(hidden, weight, zeros(3, 6), zeros(7, 6), targets));
        Refused("share", () => LinearDistillation.Forward(hidden, weight, zeros(3, 6), zeros(5, 6), targets, share: 1.5));
        Refused("temperature", () => LinearDistillation.Forward(hidden, weight, zeros(3, 6), zeros(5, 6), targets, temperature: 0));
        Refused("teacherLogitScale",
            () => LinearDistillation.Forward(hidden, weight, zeros(3, 6), zeros(5, 6), targets, teacherLogitScale: double.NaN));
        Refused("targets", () => LinearDistillation.Forward(hidden, weight, zeros(3, 6), zeros(5, 6), zeros([2], ScalarType.Int64)));
    }
}
