using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class GradientCollectionTests
{
    const int Groups = 3, Outputs = 16, Inputs = 8;

    static readonly int[] Ends = [4, 4, 9];

    // the gradient of the weight of a loss that uses it `uses` times by grouped products, and also directly if wanted
    static Tensor Gradient(int uses, bool direct, bool collects, out ScalarType kept)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var weight = randn(Groups, Outputs, Inputs).requires_grad_();
        var collection = new GradientCollection([weight]);
        using var options = OperatorOptions.Use(OperatorOptions.Current with { Gradients = collects ? collection : null });
        var loss = direct ? weight.mul(randn_like(weight)).sum() : zeros([]);
        for (int use = 0; use < uses; use++)
        {
            var output = GroupedLinear.Forward(randn(9, Inputs).to(ScalarType.BFloat16), weight, tensor(Ends, ScalarType.Int32));
            loss = loss.add(output.to(ScalarType.Float32).mul(randn(9, Outputs)).sum(), Scalars.One);
        }
        Autograd.Backward(loss);
        var gradient = collection.Of(weight)!;
        kept = gradient.dtype;
        return gradient.to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    [Theory]
    [InlineData(1, false, true), InlineData(2, false, false), InlineData(3, false, false), InlineData(4, false, false), InlineData(1, true, false)]
    public void A_collected_gradient_has_the_bits_of_that_of_autograd(int uses, bool direct, bool isNarrow)
    {
        using var scope = NewDisposeScope();
        var expected = Gradient(uses, direct, collects: false, out var wide);
        var own = Gradient(uses, direct, collects: true, out var kept);
        Assert.Equal((ScalarType.Float32, isNarrow ? ScalarType.BFloat16 : ScalarType.Float32), (wide, kept));
        Assert.True(expected.equal(own).all().item<bool>());
    }

    [Fact]
    public void Other_weights_and_those_without_a_gradient_have_no_place()
    {
        using var scope = NewDisposeScope();
        var (weight, frozen) = (randn(2, 2).requires_grad_(), randn(2, 2));
        var collection = new GradientCollection([weight, frozen]);
        Assert.NotNull(collection.For(weight));
        Assert.Null(collection.For(frozen));
        Assert.Null(collection.For(randn(2, 2).requires_grad_()));
        Assert.Null(collection.Of(weight));
    }

    [Fact]
    public void A_cleared_gradient_does_not_affect_the_next_pass()
    {
        using var scope = NewDisposeScope();
        using var weight = randn(4).requires_grad_();
        var collection = new GradientCollection([weight]);
        var place = collection.For(weight)!;
        Assert.Null(place.Offer(ones(4, ScalarType.BFloat16)));
        Assert.Equal([2, 2, 2, 2], place.Offer(ones(4, ScalarType.BFloat16))!.data<float>().ToArray());
        collection.Clear();
        Assert.Null(place.Offer(full([4], 3, ScalarType.BFloat16)));
        Assert.Equal([3, 3, 3, 3], collection.Of(weight)!.to(ScalarType.Float32).data<float>().ToArray());
        collection.Clear();
        Assert.Null(collection.Of(weight));
    }

    [Fact]
    public void Gradients_move_to_the_weights_in_their_type()
    {
        using var scope = NewDisposeScope();
        Tensor[] weights = [.. Enumerable.Range(0, 3).Select(_ => randn(4).requires_grad_())];
        var collection = new GradientCollection(weights);
        Assert.Null(collection.For(weights[0])!.Offer(ones(4, ScalarType.BFloat16)));
        collection.For(weights[1])!.KeepsWhole = true;
        Assert.Null(collection.For(weights[1])!.Offer(ones(4)));
        collection.MoveToWeights();
        for (int i = 0; i < 2; i++) Assert.Equal([1, 1, 1, 1], weights[i].grad!.data<float>().ToArray());
        Assert.Null(weights[2].grad);
        Assert.Equal([1, 1, 1, 1], collection.Of(weights[1])!.data<float>().ToArray());
    }

    [Fact]
    public void Narrow_gradients_are_cast_if_they_are_not_kept()
    {
        using var scope = NewDisposeScope();
        var weight = randn(4).requires_grad_();
        var collection = new GradientCollection([weight]) { KeepsNarrow = false };
        Assert.Equal(ScalarType.Float32, collection.For(weight)!.Offer(ones(4, ScalarType.BFloat16))!.dtype);
        collection.For(weight)!.KeepsWhole = true;
        Assert.Null(collection.For(weight)!.Offer(ones(4)));
        Assert.NotNull(collection.For(weight)!.Whole);
    }
}
