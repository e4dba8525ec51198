using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class SlicedGradientTests
{
    static readonly long[] Sizes = [8, 4, 12];

    // scales a slice, and writes its gradient to its place if there is one
    static Tensor Scaled(TensorSlice slice, float scale, List<bool> inPlace)
    {
        var (input, place) = slice;
        return Autograd.Apply([input], _ => [input.mul(Scalars.From(scale))], context =>
        {
            var gradient = context.Gradients[0]!.mul(Scalars.From(scale));
            var to = place?.Take(input, static (like, type, sizes) => empty(sizes, type, like.device));
            inPlace.Add(to is not null);
            return [to is null ? gradient : to.copy_(gradient)];
        })[0];
    }

    static (Tensor Gradient, List<bool> InPlace) Differentiate(
        bool hasPlaces, Func<TensorSlice[], List<bool>, Tensor> loss, ScalarType type = ScalarType.Float32, int passes = 1)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var leaf = randn(2, 3, 24).to(type).requires_grad_();
        var inPlace = new List<bool>();
        var result = loss(TensorSlice.Split(leaf.mul(Scalars.Two), hasPlaces, Sizes), inPlace);
        for (int pass = 0; pass < passes; pass++) Autograd.Backward(result, retainGraph: pass < passes - 1);
        return (leaf.grad!.MoveToOuterDisposeScope(), inPlace);
    }

    static Tensor Sum(params Tensor[] tensors)
    {
        var sum = zeros([]);
        for (int i = 0; i < tensors.Length; i++)
            sum = sum.add(tensors[i].to(ScalarType.Float32).mul((arange(tensors[i].NumberOfElements) + i).view(tensors[i].shape)).sum(), Scalars.One);
        return sum;
    }

    static void EqualsJoinedByCopy(Func<TensorSlice[], List<bool>, Tensor> loss, bool[] inPlace, ScalarType type = ScalarType.Float32, int passes = 1)
    {
        using var scope = NewDisposeScope();
        var (expected, _) = Differentiate(false, loss, type, passes);
        var (actual, places) = Differentiate(true, loss, type, passes);
        Assert.Equal(inPlace, places);
        Assert.True(expected.equal(actual).all().item<bool>());
    }

    [Fact]
    public void Gradients_in_their_places_are_the_gradient_of_the_tensor() =>
        EqualsJoinedByCopy((slices, log) => Sum([.. slices.Select((slice, i) => Scaled(slice, i + 1, log))]), [true, true, true]);

    [Fact]
    public void Gradients_elsewhere_are_copied_to_their_places() =>
        EqualsJoinedByCopy((slices, log) => Sum(slices[0].Tensor.square(), Scaled(slices[1], 3, log), slices[2].Tensor.exp()), [true]);

    [Fact]
    public void Gradients_that_are_all_elsewhere_are_joined() =>
        EqualsJoinedByCopy((slices, log) => Sum(slices[0].Tensor.square(), slices[2].Tensor.exp()), []);

    [Fact]
    public void A_slice_without_a_gradient_has_zeros() => EqualsJoinedByCopy((slices, log) => Sum(Scaled(slices[2], 3, log)), [true]);

    [Fact]
    public void Only_the_first_use_of_a_slice_has_its_place() => EqualsJoinedByCopy(
        (slices, log) => Sum(Scaled(slices[0], 2, log), Scaled(slices[0], 5, log), slices[0].Tensor.square(), Scaled(slices[1], 3, log)),
        [true, true, false]);

    [Fact]
    public void A_second_pass_over_a_graph_has_another_gradient() =>
        EqualsJoinedByCopy((slices, log) => Sum(Scaled(slices[0], 2, log), slices[1].Tensor), [true, true], passes: 2);

    [Fact]
    public void A_pass_over_a_graph_after_one_that_failed_has_the_whole_gradient()
    {
        using var scope = NewDisposeScope();
        var leaf = ones(2, 24).requires_grad_();
        var slices = TensorSlice.Split(leaf.mul(Scalars.Two), true, Sizes);
        bool fails = true;
        // the node that was recorded last comes first, so the first slice has its place when the other one fails
        var second = Autograd.Apply([slices[1].Tensor], _ => [slices[1].Tensor.mul(Scalars.Two)],
            context => fails ? throw new TimeoutException() : [context.Gradients[0]!.mul(Scalars.Two)])[0];
        var log = new List<bool>();
        var loss = Sum(second, Scaled(slices[0], 3, log));
        Assert.Throws<TimeoutException>(() => Autograd.Backward(loss, retainGraph: true));
        Assert.Equal([true], log);
        leaf.grad = null;
        fails = false;
        Autograd.Backward(loss);
        var expected = cat([arange(1, 17).view(2, 8).mul(6), arange(0, 8).view(2, 4).mul(4), zeros(2, 12)], -1);
        Assert.True(expected.eq(leaf.grad!).all().item<bool>());
    }

    [Fact]
    public void Views_of_a_slice_have_its_place() => EqualsJoinedByCopy((slices, log) =>
        Sum(Scaled(slices[2] with { Tensor = slices[2].Tensor.view(2, 3, 3, 4) }, 3, log)), [true]);

    [Fact]
    public void Parts_of_a_slice_and_other_types_have_no_place() => EqualsJoinedByCopy((slices, log) => Sum(
        Scaled(slices[0] with { Tensor = slices[0].Tensor.narrow(-1, 0, 4) }, 3, log),
        Scaled(slices[2] with { Tensor = slices[2].Tensor.to(ScalarType.Float64) }, 3, log)), [false, false]);

    [Fact]
    public void Slices_that_are_no_multiple_of_16_bytes_have_no_places() =>
        EqualsJoinedByCopy((slices, log) => Sum(Scaled(slices[0], 2, log), Scaled(slices[1], 3, log)), [false, false], ScalarType.BFloat16);

    [Fact]
    public void A_frozen_tensor_has_no_places()
    {
        using var scope = NewDisposeScope();
        Assert.All(TensorSlice.Split(randn(2, 24), true, Sizes), slice => Assert.Null(slice.Gradient));
        using var noGrad = no_grad();
        Assert.All(TensorSlice.Split(randn(2, 24).requires_grad_(), true, Sizes), slice => Assert.Null(slice.Gradient));
    }
}
