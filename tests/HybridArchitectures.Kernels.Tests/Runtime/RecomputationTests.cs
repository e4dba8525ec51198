using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class RecomputationTests
{
    static Tensor Leaf(params long[] size) => randn(size).requires_grad_();

    // outputs and gradients of two projections of a norm, and the bytes that all operators saved
    static (Tensor[] Results, long Bytes) ProjectNorm(Tensor x, Tensor residual, Tensor scale, Tensor[] weights, bool offers, bool sums)
    {
        Tensor[] leaves = [.. ((Tensor[])[x, residual, scale, .. weights]).Select(value => value.detach().clone().requires_grad_())];
        var before = AutogradNode.Nodes;
        var sum = leaves[0];
        Tensor normed;
        if (sums) (normed, sum) = RmsNorm.ForwardSum(leaves[0], leaves[1], leaves[2]);
        else normed = RmsNorm.Forward(sum, leaves[2]);
        using (offers ? RmsNorm.Offer(normed, sum, leaves[2], 1e-5) : null)
        {
            var outputs = MasterWeightLinear.Forward(normed, [(leaves[3], null), (leaves[4], null)]);
            long bytes = AutogradNode.Nodes.Except(before).Sum(node => node.SavedBytes());
            Autograd.Backward(outputs, Array.ConvertAll(outputs, output => OperatorCheck.Direction(output)));
            return ([.. outputs.Select(output => output.detach()), .. leaves.Select(leaf => leaf.grad).OfType<Tensor>()], bytes);
        }
    }

    static void EqualBits(Tensor[] expected, Tensor[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.True(expected[i].equal(actual[i]).all().item<bool>(), $"result {i} differs");
    }

    static void NormsAreComputedAgain(bool sums)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        foreach (int width in (int[])[24, 264, 2056])
        {
            var (x, residual, scale) = (randn(3, 5, width).to(ScalarType.BFloat16), randn(3, 5, width).to(ScalarType.BFloat16), randn(width));
            Tensor[] weights = [randn(16, width), randn(8, width)];
            var (expected, _) = ProjectNorm(x, residual, scale, weights, offers: false, sums);
            var (own, _) = ProjectNorm(x, residual, scale, weights, offers: true, sums);
            EqualBits(expected, own);
        }
    }

    [Theory, InlineData(false), InlineData(true)]
    public void A_norm_computed_again_has_the_same_bits(bool sums)
    {
        NormsAreComputedAgain(sums);
        using var options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });
        CudaEmulation.BothOrders(() => NormsAreComputedAgain(sums));
    }

    static (Tensor[] Results, long Bytes) ScanConvolution(bool offers, SequenceLayout? layout)
    {
        using var random = manual_seed(2);
        var (projected, filter, bias, a) = (Leaf(2, 37, 40), Leaf(32, 4), Leaf(32), Leaf(2));
        var before = AutogradNode.Nodes;
        var parts = projected.split([32, 8], -1);
        var convolved = CausalConvolution.Forward(parts[0], filter, bias, true, null, layout).Output;
        using var offer = offers ? CausalConvolution.Offer(convolved, parts[0], filter, bias, true, layout) : null;
        var views = convolved.split([16, 8, 8], -1);
        var y = StateSpaceDual.Forward(views[0].view(2, 37, 2, 8), parts[1].narrow(-1, 0, 2), a, views[1].view(2, 37, 1, 8),
            views[2].view(2, 37, 1, 8), softplus: true, layout: layout, chunkSize: 16).Output;
        // the convolution saves the same in both
        long bytes = AutogradNode.Nodes.Except(before).Sum(node => node.SavedBytes());
        Autograd.Backward(y, OperatorCheck.Direction(y));
        return ([y.detach(), .. ((Tensor[])[projected, filter, bias, a]).Select(leaf => leaf.grad!)], bytes);
    }

    static void ConvolutionsAreComputedAgain()
    {
        using var scope = NewDisposeScope();
        foreach (var layout in (SequenceLayout?[])[null, SequenceLayout.Packed([[20, 17], [30]], 37)])
        {
            var (expected, kept) = ScanConvolution(offers: false, layout);
            var (own, less) = ScanConvolution(offers: true, layout);
            EqualBits(expected, own);
            // instead of its views, the dual refers to the inputs of the convolution, which are saved in any case
            Assert.NotEqual(kept, less);
        }
    }

    [Fact]
    public void Views_of_a_convolution_computed_again_have_the_same_bits()
    {
        ConvolutionsAreComputedAgain();
        using var options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });
        CudaEmulation.BothOrders(ConvolutionsAreComputedAgain);
    }

    sealed record Pair(Tensor First, Tensor? Second) : ISavedTensors<Pair>
    {
        public Pair Map(Func<Tensor?, Tensor?> replace) => new(replace(First)!, replace(Second));
    }

    // x -> x saved; the gradient tells what was read in the backward pass
    static Tensor Reader(Tensor leaf, Tensor saved) => Autograd.Apply<Pair>([leaf], _ => ([leaf.detach().clone()], new(saved, null)),
        static (context, pair) => [pair.First.sum(dim: 0)])[0];

    static Tensor Computed(Tensor input, Action<Tensor>? after = null, bool disposesFirst = false)
    {
        var leaf = zeros(3).requires_grad_();
        var tensor = input + input;
        Tensor read;
        var offer = Recomputation.Offer(tensor, new Pair(input, null), static pair => pair.First + pair.First + pair.First);
        if (disposesFirst) offer!.Dispose();
        using (disposesFirst ? null : offer)
        {
            after?.Invoke(tensor);
            read = Reader(leaf, tensor);
        }
        Autograd.Backward(read.sum());
        return leaf.grad!;
    }

    [Fact]
    public void Only_unchanged_tensors_of_an_open_offer_are_computed_again()
    {
        using var scope = NewDisposeScope();
        var input = ones(2, 3);
        Assert.Equal(6, Computed(input)[0].item<float>());                                         // by the computation of this test, 3 x
        Assert.Equal(4, Computed(input, disposesFirst: true)[0].item<float>());
        Assert.Equal(8, Computed(input, tensor => tensor.mul_(Scalars.Two))[0].item<float>());
        using var noGrad = no_grad();
        Assert.Null(Recomputation.Offer(ones(2), new Pair(input, null), static pair => pair.First));
    }

    /// <summary>A mixer that disposed its input failed at the next operator, whose tensors were compared with the disposed one.</summary>
    [Fact]
    public void The_offer_of_a_disposed_tensor_is_not_used()
    {
        using var scope = NewDisposeScope();
        var (leaf, input) = (zeros(3).requires_grad_(), ones(2, 3));
        var tensor = input + input;
        var inSameMemory = tensor.alias();
        Tensor read;
        using (Recomputation.Offer(tensor, new Pair(input, null), static pair => pair.First + pair.First + pair.First))
        {
            tensor.Dispose();
            read = Reader(leaf, inSameMemory);
        }
        Autograd.Backward(read.sum());
        Assert.Equal(4, leaf.grad![0].item<float>());
    }

    [Fact]
    public void A_changed_input_of_the_computation_is_an_error()
    {
        using var scope = NewDisposeScope();
        var (leaf, input) = (zeros(3).requires_grad_(), ones(2, 3));
        var tensor = input + input;
        Tensor read;
        using (Recomputation.Offer(tensor, new Pair(input, null), static pair => pair.First + pair.First)) read = Reader(leaf, tensor);
        input.add_(Scalars.One, Scalars.One);
        Assert.ThrowsAny<Exception>(() => Autograd.Backward(read.sum()));
    }
}
