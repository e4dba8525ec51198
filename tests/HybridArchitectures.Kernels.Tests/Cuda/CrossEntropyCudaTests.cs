using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Compares the CUDA kernel of linear cross entropy under emulation with the reference in float64.</summary>
public class CrossEntropyCudaTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(
        new() { LinearCrossEntropyBackend = KernelBackend.Cuda, Thresholds = new() { MinLogits = 32 } });

    public void Dispose() => options.Dispose();

    [Theory]
    [InlineData(1, 1, false, 0, 0, 1)]
    [InlineData(6, 13, true, 0.1, 1e-2, 0.7)]       // chunks of 5 classes, the last of 3
    [InlineData(5, 4104, false, 0.1, 0, -1.5)]      // many chunks
    [InlineData(1, 40000, true, 0, 1e-3, 1)]        // rows longer than a block takes at a time
    [InlineData(3, 70, true, 0.3, 0, 1)]
    [InlineData(2, 20, false, 0, 0.1, 1)]
    public void Results_and_gradients_match_the_reference(int tokens, int vocabulary, bool biased, double smoothing, double zLoss, double scale)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var targets = randint(0, vocabulary, [tokens], ScalarType.Int64);
        if (tokens > 2) targets[1] = -100;
        Tensor?[] inputs = [OperatorCheck.Normal(tokens, 9), OperatorCheck.Normal(vocabulary, 9) * 0.3,
            biased ? OperatorCheck.Normal(vocabulary) : null];
        CudaEmulation.BothOrders(() =>
        {
            OperatorCheck.MatchesReference(i => LinearCrossEntropy.Forward(i[0]!, i[1]!, targets, -100, smoothing, zLoss, i[2], scale),
                i => LinearCrossEntropyReference.Forward(i[0]!, i[1]!, targets, -100, smoothing, zLoss, i[2], scale), inputs);
            var single = inputs.Select(input => input?.to(ScalarType.Float32)).ToArray();
            OperatorCheck.Close(LinearCrossEntropyReference.TokenLosses(single[0]!, single[1]!, targets, -100, single[2], scale),
                LinearCrossEntropy.TokenLosses(single[0]!, single[1]!, targets, -100, single[2], scale), 2e-5, "the losses of tokens");
        });
    }

    [Fact]
    public void BFloat16_is_as_good_as_composed_operators()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        using var emulation = new CudaEmulation();
        var targets = randint(0, 50, [9], ScalarType.Int64);
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            i => LinearCrossEntropy.Forward(i[0]!, i[1]!, targets), i => nn.functional.cross_entropy(nn.functional.linear(i[0]!, i[1]!), targets),
            i => LinearCrossEntropyReference.Forward(i[0]!, i[1]!, targets), [OperatorCheck.Normal(9, 16), OperatorCheck.Normal(50, 16) * 0.3]);
    }

    [Fact]
    public void Where_no_token_counts_loss_and_gradients_are_zero()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var results = OperatorCheck.Run(
            i => LinearCrossEntropy.Forward(i[0]!, i[1]!, full([3], -100, ScalarType.Int64)),
            [OperatorCheck.Normal(3, 4), OperatorCheck.Normal(11, 4)], ScalarType.Float32);
        Assert.All(results, result => Assert.True(result.eq(0).all().item<bool>()));
    }

    [Fact]
    public void A_target_out_of_range_makes_the_loss_NaN()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        // only a GPU's tensors get so far: in main memory the operator refuses such a target by name
        var inputs = new CrossEntropyInputs(randn(2, 4), randn(11, 4), null, tensor(new long[] { 3, 11 }), null, new(-100, 0, 0, 1));
        var losses = CrossEntropyCuda.Losses(inputs.On(KernelBackend.Cuda));
        Assert.False(float.IsNaN(losses[0].item<float>()));
        Assert.True(float.IsNaN(losses[1].item<float>()));
    }

    [Fact]
    public void Chunks_of_classes_fill_the_multiprocessors()
    {
        using var defaults = OperatorOptions.Use(new());
        // 920 tiles of 128 x 256 in seven rounds of 132
        Assert.Equal(14_720, CrossEntropyCuda.ChunkOf(8192, 128_256, 2048, 132));
        Assert.Equal(1000, CrossEntropyCuda.ChunkOf(1000, 1000, 64, 132));
        Assert.Equal(128_256, CrossEntropyCuda.ChunkOf(1, 128_256, 64, 132));
        Assert.Equal(1024, CrossEntropyCuda.ChunkOf(1 << 14, 2000, 64, 132));
    }

    [Fact]
    public void With_gradients_chunks_contain_an_eighth_of_the_tokens_in_whole_tiles()
    {
        using var defaults = OperatorOptions.Use(new());
        Assert.Equal(2048, CrossEntropyCuda.TokensOf(16_384, 128_256));
        // 9 chunks of 1,112 tokens are 8 of 1,152 and a rest
        Assert.Equal(1152, CrossEntropyCuda.TokensOf(10_007, 128_256));
        // few logits are complete
        Assert.Equal(1000, CrossEntropyCuda.TokensOf(1000, 1000));
        Assert.Equal(0, CrossEntropyCuda.TokensOf(0, 128_256));
    }

    [Fact]
    public void Gradients_are_computed_forwards_and_keep_no_logits()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        using var emulation = new CudaEmulation();
        var (hidden, weight) = (randn(64, 8).requires_grad_(), randn(1000, 8).requires_grad_());
        var before = AutogradNode.Nodes;
        var loss = LinearCrossEntropy.Forward(hidden, weight, randint(0, 1000, [64], ScalarType.Int64));
        Assert.Equal(4 * (64 * 8 + 1000 * 8), AutogradNode.Nodes.Except(before).Sum(node => node.SavedBytes()));
        Autograd.Backward(loss);
    }

    [Fact]
    public void Any_share_of_the_logits_gives_the_same_loss()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        using var emulation = new CudaEmulation();
        var targets = randint(0, 40, [6], ScalarType.Int64);
        Tensor[] inputs = [randn(6, 9), randn(40, 9)];
        static IDisposable Share(double share) => OperatorOptions.Use(OperatorOptions.Current with { LogitsShare = share });
        foreach (double share in new[] { 1e-9, 0.3, 1 })
        {
            using var options = Share(share);
            OperatorCheck.MatchesReference(
                i => LinearCrossEntropy.Forward(i[0]!, i[1]!, targets), i => LinearCrossEntropyReference.Forward(i[0]!, i[1]!, targets), inputs);
        }
        var hidden = inputs[0].detach().clone().requires_grad_();
        Tensor loss;
        using (Share(1))
        {
            Assert.Equal(6, CrossEntropyCuda.TokensOf(6, 40));
            loss = LinearCrossEntropy.Forward(hidden, inputs[1], targets);
        }
        // the chunks of the forward pass are those of the backward pass
        using (Share(0.1)) Autograd.Backward(loss);
        var expected = inputs[0].detach().clone().requires_grad_();
        Autograd.Backward(LinearCrossEntropyReference.Forward(expected, inputs[1], targets));
        OperatorCheck.Close(expected.grad!, hidden.grad!, 1e-5, "the gradient of hidden");
        foreach (double share in new[] { 0, -1, 1.5, double.NaN })
            Assert.Contains("LogitsShare", Assert.Throws<ArgumentOutOfRangeException>(() => new OperatorOptions { LogitsShare = share }).Message);
    }

    [Fact]
    public void A_second_pass_over_a_kept_graph_gives_the_same()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        using var emulation = new CudaEmulation();
        var (hidden, weight) = (randn(6, 9).requires_grad_(), randn(40, 9).requires_grad_());
        var loss = LinearCrossEntropy.Forward(hidden, weight, randint(0, 40, [6], ScalarType.Int64));
        Tensor[] Gradients(bool keep)
        {
            (hidden.grad, weight.grad) = (null, null);
            Autograd.Backward(loss, retainGraph: keep);
            return [hidden.grad!, weight.grad!];
        }
        var (first, second) = (Gradients(true), Gradients(false));
        for (int i = 0; i < first.Length; i++) Assert.True(first[i].eq(second[i]).all().item<bool>());
    }

    [Fact]
    public void Gradients_are_scaled_by_the_incoming_one()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var emulation = new CudaEmulation();
        var (hidden, weight, targets) = (randn(6, 9), randn(40, 9), randint(0, 40, [6], ScalarType.Int64));
        OperatorCheck.MatchesReference(
            i => LinearCrossEntropy.Forward(i[0]!, i[1]!, targets) * 3, i =>
            LinearCrossEntropyReference.Forward(i[0]!, i[1]!, targets) * 3, [hidden, weight]);
    }
}
