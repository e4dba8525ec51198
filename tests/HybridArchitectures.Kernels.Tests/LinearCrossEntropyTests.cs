using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class LinearCrossEntropyTests
{
    static Tensor Targets(long tokens, long vocabulary, double ignored = 0.2)
    {
        var targets = randint(0, vocabulary, [tokens], ScalarType.Int64);
        return targets.masked_fill(rand(tokens).lt(ignored), -100);
    }

    static void Matches(long tokens, long vocabulary, long width, bool bias = false, double smoothing = 0, double zLoss = 0, double scale = 1)
    {
        var targets = Targets(tokens, vocabulary);
        OperatorCheck.MatchesReference(
            given => LinearCrossEntropy.Forward(given[0]!, given[1]!, targets, -100, smoothing, zLoss, given[2], scale),
            given => LinearCrossEntropyReference.Forward(given[0]!, given[1]!, targets, -100, smoothing, zLoss, given[2], scale),
            [OperatorCheck.Normal(tokens, width), OperatorCheck.Normal(vocabulary, width) * 0.3, bias ? OperatorCheck.Normal(vocabulary) : null]);
    }

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 2, 3)]
    [InlineData(47, 123, 31)]
    [InlineData(252, 507, 123)]
    [InlineData(256, 512, 128)]
    [InlineData(130, 40_000, 5)]
    public void Gradients_match_float64_reference(int tokens, int vocabulary, int width)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Matches(tokens, vocabulary, width);
        Matches(tokens, vocabulary, width, bias: true, smoothing: 0.1, zLoss: 1e-2, scale: 0.7);
    }

    [Theory]
    [InlineData(0.3, 0, 1)]
    [InlineData(0, 0.1, 1)]
    [InlineData(0, 0, 2.5)]
    public void Gradients_match_float64_reference_for_each_option(double smoothing, double zLoss, double scale)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Matches(33, 65, 17, false, smoothing, zLoss, scale);
    }

    [Theory]
    [InlineData(33, 65, 17, 0.5, 1, 0)]
    [InlineData(33, 65, 17, 3, 2.5, 1e-2)]
    [InlineData(150, 9_000, 5, 30, 0.7, 0)]
    public void Bounded_logits_and_their_gradients_match_the_float64_reference(
        int tokens, int vocabulary, int width, double cap, double scale, double zLoss)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        var targets = Targets(tokens, vocabulary);
        var (hidden, weight) = (OperatorCheck.Normal(tokens, width), OperatorCheck.Normal(vocabulary, width) * 3);
        OperatorCheck.MatchesReference(
            given => LinearCrossEntropy.Forward(given[0]!, given[1]!, targets, -100, 0.1, zLoss, given[2], scale, logitCap: cap),
            given => LinearCrossEntropyReference.Forward(given[0]!, given[1]!, targets, -100, 0.1, zLoss, given[2], scale, logitCap: cap),
            [hidden, weight, OperatorCheck.Normal(vocabulary)]);
        var narrow = (hidden.to(ScalarType.Float32), weight.to(ScalarType.Float32));
        var logits = narrow.Item1.mm(narrow.Item2.t()) * scale;
        var right = nn.functional.cross_entropy((logits / cap).tanh() * cap, targets, ignore_index: -100, reduction: nn.Reduction.None);
        OperatorCheck.Close(right.to(ScalarType.Float64),
            LinearCrossEntropy.TokenLosses(narrow.Item1, narrow.Item2, targets, logitScale: scale, logitCap: cap).to(ScalarType.Float64), 1e-5,
            "the token losses");
    }

    [Theory]
    [InlineData(47, 123, 31, 0, 0)]
    [InlineData(130, 40_000, 5, 0.1, 1e-2)]
    public void Weighted_gradients_match_float64_reference(int tokens, int vocabulary, int width, double smoothing, double zLoss)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var targets = Targets(tokens, vocabulary);
        var weights = rand(tokens).masked_fill(rand(tokens).lt(0.3), 0);
        OperatorCheck.MatchesReference(
            given => LinearCrossEntropy.Forward(given[0]!, given[1]!, targets, -100, smoothing, zLoss, given[2], 0.7, weights),
            given => LinearCrossEntropyReference.Forward(given[0]!, given[1]!, targets, -100, smoothing, zLoss, given[2], 0.7, weights),
            [OperatorCheck.Normal(tokens, width), OperatorCheck.Normal(vocabulary, width) * 0.3, OperatorCheck.Normal(vocabulary)]);
    }

    [Theory]
    [InlineData(KernelBackend.Auto)]
    [InlineData(KernelBackend.LibTorch)]
    [InlineData(KernelBackend.Reference)]
    public void Weights_make_a_weighted_mean(KernelBackend backend)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        var (hidden, weight) = (randn(4, 8), randn(30, 8));
        var targets = tensor(new long[] { 3, -100, 7, 29 });
        var each = LinearCrossEntropy.TokenLosses(hidden, weight, targets).data<float>().ToArray();
        float Loss(params float[] weights)
        {
            using var options = OperatorOptions.Use(new() { LinearCrossEntropyBackend = backend });
            return LinearCrossEntropy.Forward(hidden, weight, targets, tokenWeights: tensor(weights)).item<float>();
        }
        Assert.Equal((each[0] + each[2] + each[3]) / 3, Loss(1, 1, 1, 1), 1e-5f);
        Assert.Equal((0.5f * each[0] + 2 * each[3]) / 2.5f, Loss(0.5f, 9, 0, 2), 1e-5f);
        Assert.Equal(0, Loss(0, 1, 0, 0));
    }

    [Fact]
    public void Weights_that_cannot_be_are_refused()
    {
        using var scope = NewDisposeScope();
        var (hidden, weight, targets) = (randn(2, 4), randn(5, 4), tensor(new long[] { 1, 2 }));
        void Refused(Tensor weights) =>
            Assert.ThrowsAny<ArgumentException>(() => LinearCrossEntropy.Forward(hidden, weight, targets, tokenWeights: weights));
        Refused(tensor(new float[] { 1 }));
        Refused(tensor(new double[] { 1, 1 }));
        Refused(tensor(new float[] { 1, -1 }));
        Refused(tensor(new float[] { float.NaN, 1 }));
    }

    [Fact]
    public void It_is_libtorchs_cross_entropy()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var (hidden, weight, targets) = (randn(20, 8), randn(30, 8), Targets(20, 30));
        var logits = nn.functional.linear(hidden, weight);
        Assert.Equal(nn.functional.cross_entropy(logits, targets).item<float>(), LinearCrossEntropy.Forward(hidden, weight, targets).item<float>(),
            1e-5f);
        Assert.Equal(nn.functional.cross_entropy(logits, targets, label_smoothing: 0.2).item<float>(),
            LinearCrossEntropy.Forward(hidden, weight, targets, labelSmoothing: 0.2).item<float>(), 1e-5f);
        var each = nn.functional.cross_entropy(logits, targets, reduction: nn.Reduction.None);
        Assert.True(each.allclose(LinearCrossEntropy.TokenLosses(hidden, weight, targets), 1e-5, 1e-5));
        Assert.False(LinearCrossEntropy.TokenLosses(hidden.requires_grad_(), weight, targets).requires_grad);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void BFloat16_is_as_good_as_composed_operators(bool float32Weight)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var targets = Targets(130, 300);
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            given => LinearCrossEntropy.Forward(given[0]!, given[1]!, targets),
            given => nn.functional.cross_entropy(nn.functional.linear(given[0]!, given[1]!.to(ScalarType.BFloat16)).to(ScalarType.Float32), targets),
            given => LinearCrossEntropyReference.Forward(given[0]!, given[1]!, targets),
            [OperatorCheck.Normal(130, 64), OperatorCheck.Normal(300, 64) * 0.3], float32Weight ? [1] : []);
    }

    [Fact]
    public void All_targets_ignored_gives_zero_and_zero_gradients()
    {
        using var scope = NewDisposeScope();
        var hidden = randn(5, 4).requires_grad_(); var weight = randn(7, 4).requires_grad_(); var bias = randn(7).requires_grad_();
        var loss = LinearCrossEntropy.Forward(hidden, weight, full(5, -100L, ScalarType.Int64), labelSmoothing: 0.1, zLoss: 0.1, bias: bias);
        Autograd.Backward(loss);
        Assert.Equal(0f, loss.item<float>());
        foreach (var leaf in new[] { hidden, weight, bias }) Assert.Equal(0f, leaf.grad!.abs().sum().item<float>());
        Assert.Equal(0f, LinearCrossEntropy.Forward(zeros(0, 4), weight, zeros(0, ScalarType.Int64)).item<float>());
    }

    [Fact]
    public void An_ignored_token_counts_nowhere_whatever_it_holds()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var hidden = randn(3, 4); var weight = randn(7, 4).requires_grad_();
        hidden[1] = full(4, float.NaN);
        hidden.requires_grad_();
        Autograd.Backward(LinearCrossEntropy.Forward(hidden, weight, tensor(new long[] { 2, -100, 6 })));
        Assert.True(hidden.grad!.isfinite().all().item<bool>());
        Assert.Equal(0f, hidden.grad![1].abs().sum().item<float>());
    }

    [Fact]
    public void Extreme_logits_stay_finite_and_shifts_change_nothing()
    {
        using var scope = NewDisposeScope();
        var hidden = eye(4).requires_grad_();
        var weight = tensor(new float[] { 1e4f, -1e4f, 0, 0, 0, 1e4f, 0, 0, 88, 0, -1e30f, 0 }).reshape(3, 4).requires_grad_();
        var targets = tensor(new long[] { 0, 1, 0, 2 });
        var loss = LinearCrossEntropy.Forward(hidden, weight, targets);
        Autograd.Backward(loss);
        Assert.True(float.IsFinite(loss.item<float>()) && hidden.grad!.isfinite().all().item<bool>() && weight.grad!.isfinite().all().item<bool>());
        var (h, w) = (randn(4, 8), randn(5, 8));
        targets = tensor(new long[] { 0, 1, 4, 2 });
        Assert.Equal(LinearCrossEntropy.Forward(h, w, targets).item<float>(),
            LinearCrossEntropy.Forward(h, w, targets, bias: full(5, 30f)).item<float>(), 1e-4f);
    }

    [Fact]
    public void The_incoming_gradient_scales_every_gradient_and_a_kept_graph_serves_twice()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        var hidden = randn(6, 4).requires_grad_(); var weight = randn(9, 4).requires_grad_(); var targets = Targets(6, 9, 0);
        var loss = LinearCrossEntropy.Forward(hidden, weight, targets);
        Autograd.Backward(loss, retainGraph: true);
        var (once, onceWeight) = (hidden.grad!.clone(), weight.grad!.clone());
        Autograd.Backward(loss, tensor(3f));
        Assert.True(hidden.grad!.allclose(once * 4) && weight.grad!.allclose(onceWeight * 4));
    }

    [Fact]
    public void Only_wanted_gradients_are_given()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(7);
        var hidden = randn(6, 4); var weight = randn(9, 4); var targets = Targets(6, 9, 0);
        Assert.False(LinearCrossEntropy.Forward(hidden, weight, targets).requires_grad);
        var head = weight.clone().requires_grad_();
        Autograd.Backward(LinearCrossEntropy.Forward(hidden, head, targets));
        Assert.NotNull(head.grad);
        var leaf = hidden.clone().requires_grad_();
        Autograd.Backward(LinearCrossEntropy.Forward(leaf, weight, targets));
        Assert.NotNull(leaf.grad);
        using (no_grad()) Assert.False(LinearCrossEntropy.Forward(leaf, head, targets).requires_grad);
    }

    [Fact]
    public void Logits_that_would_fill_a_gigabyte_are_never_held()
    {
        using var outer = NewDisposeScope();
        using var random = manual_seed(8);
        var hidden = randn(8192, 4).requires_grad_(); var weight = randn(32_768, 4).requires_grad_(); var targets = Targets(8192, 32_768);
        long grown = PeakMemory.Growth(() =>
        {
            using var scope = NewDisposeScope();
            Autograd.Backward(LinearCrossEntropy.Forward(hidden, weight, targets));
        });        // all logits: 8192 x 32768 x 4 bytes = 1074 MB
        Assert.True(grown < 200_000_000, $"grew by {grown / 1_000_000} MB");
    }

    [Theory]
    [InlineData(KernelBackend.LibTorch)]
    [InlineData(KernelBackend.Reference)]
    public void Every_back_end_gives_the_same(KernelBackend backend)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(9);
        Assert.Equal(KernelBackend.Cpu, LinearCrossEntropy.BackendFor(zeros(1, 1)));
        Assert.Equal(KernelBackend.LibTorch, LinearCrossEntropy.BackendFor(zeros(1, 1, ScalarType.Float64)));
        var targets = Targets(150, 9000);
        Tensor?[] inputs = [OperatorCheck.Normal(150, 8), OperatorCheck.Normal(9000, 8), OperatorCheck.Normal(9000)];
        Tensor[] All() => OperatorCheck.Run(
            given => LinearCrossEntropy.Forward(given[0]!, given[1]!, targets, -100, 0.1, 0.01, given[2], 0.9), inputs, ScalarType.Float32);
        var (vectorised, each) = (All(),
            LinearCrossEntropy.TokenLosses(inputs[0]!.to(ScalarType.Float32), inputs[1]!.to(ScalarType.Float32), targets));
        using var options = OperatorOptions.Use(new() { LinearCrossEntropyBackend = backend });
        foreach (var (expected, actual) in All().Zip(vectorised)) OperatorCheck.Close(expected, actual, 1e-5, "a result");
        OperatorCheck.Close(LinearCrossEntropy.TokenLosses(inputs[0]!.to(ScalarType.Float32), inputs[1]!.to(ScalarType.Float32), targets), each,
            1e-5, "the token losses");
    }

    [Fact]
    public void Float64_is_exact_over_several_chunks()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(10);
        var targets = Targets(150, 20_000);
        Tensor?[] inputs = [OperatorCheck.Normal(150, 4), OperatorCheck.Normal(20_000, 4), OperatorCheck.Normal(20_000)];
        var actual = OperatorCheck.Run(
            given => LinearCrossEntropy.Forward(given[0]!, given[1]!, targets, -100, 0.1, 0.01, given[2], 0.9), inputs, ScalarType.Float64);
        var expected = OperatorCheck.Run(
            given => LinearCrossEntropyReference.Forward(given[0]!, given[1]!, targets, -100, 0.1, 0.01, given[2], 0.9), inputs, ScalarType.Float64);
        for (int i = 0; i < expected.Length; i++) OperatorCheck.Close(expected[i], actual[i], 1e-12, $"result {i}");
    }

    [Fact]
    public void A_NaN_logit_shows_in_the_loss()
    {
        using var scope = NewDisposeScope();
        var (hidden, weight) = (ones(2, 1), zeros(20, 1));
        weight[13, 0] = float.NaN;
        Assert.True(float.IsNaN(LinearCrossEntropy.Forward(hidden, weight, zeros(2, ScalarType.Int64)).item<float>()));
    }

    [Fact]
    public void Steps_stay_right_under_continuous_garbage_collection()
    {
        using var outer = NewDisposeScope();
        using var random = manual_seed(11);
        var hidden = randn(70, 8).requires_grad_(); var weight = randn(20_000, 8).requires_grad_(); var targets = Targets(70, 20_000);
        Autograd.Backward(LinearCrossEntropy.Forward(hidden, weight, targets));
        var (dHidden, dWeight) = (hidden.grad!.clone(), weight.grad!.clone());
        OperatorCheck.UnderGarbageCollection(TimeSpan.FromSeconds(2), 6, () =>
        {
            using var scope = NewDisposeScope();
            hidden.grad = null;
            weight.grad = null;
            Autograd.Backward(LinearCrossEntropy.Forward(hidden, weight, targets));
            Assert.True(hidden.grad!.equal(dHidden).all().item<bool>() && weight.grad!.equal(dWeight).all().item<bool>());
        });
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var (hidden, weight, targets) = (zeros(3, 4), zeros(5, 4), zeros(3, ScalarType.Int64));
        Refusal.Expect("targets", "targets[1] is 5", () => LinearCrossEntropy.Forward(hidden, weight, tensor(new long[] { 0, 5, 1 })));
        Refusal.Expect("targets", "targets[2] is -1", () => LinearCrossEntropy.TokenLosses(hidden, weight, tensor(new long[] { 0, 4, -1 })));
        Refusal.Expect("targets", "Int32", () => LinearCrossEntropy.Forward(hidden, weight, targets.to(ScalarType.Int32)));
        Refusal.Expect("targets", "(2)", () => LinearCrossEntropy.Forward(hidden, weight, targets.narrow(0, 0, 2)));
        Refusal.Expect("hidden", "(1, 3, 4)", () => LinearCrossEntropy.Forward(hidden.unsqueeze(0), weight, targets));
        Refusal.Expect("weight", "(5, 3)", () => LinearCrossEntropy.Forward(hidden, zeros(5, 3), targets));
        Refusal.Expect("weight", "(0, 4)", () => LinearCrossEntropy.Forward(hidden, zeros(0, 4), targets));
        Refusal.Expect("bias", "(4)", () => LinearCrossEntropy.Forward(hidden, weight, targets, bias: zeros(4)));
        Refusal.Expect("labelSmoothing", "1", () => LinearCrossEntropy.Forward(hidden, weight, targets, labelSmoothing: 1));
        Refusal.Expect("zLoss", "-1", () => LinearCrossEntropy.Forward(hidden, weight, targets, zLoss: -1));
        Refusal.Expect("logitCap", "0", () => LinearCrossEntropy.Forward(hidden, weight, targets, logitCap: 0));
        Refusal.Expect("logitScale", "NaN", () => LinearCrossEntropy.Forward(hidden, weight, targets, logitScale: double.NaN));
    }
}
