using HybridArchitectures.Adapters;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Adapters;

public class LoraDropoutTests
{
    [Fact]
    public void The_dropped_share_is_the_requested_one_and_no_two_masks_are_equal()
    {
        using var scope = NewDisposeScope();
        LoraDropout[] adapters = [new(0.3), new(0.3)];
        foreach (var (number, adapter) in adapters.Index()) adapter.Seed(5, number);
        Tensor Mask(int adapter) => adapters[adapter].Apply(ones(200_000));
        var (first, second, other) = (Mask(0), Mask(0), Mask(1));
        // 200,000 draws: a standard deviation of 0.001
        foreach (var mask in new[] { first, second, other })
            Assert.InRange(mask.eq(Scalars.Zero).to(ScalarType.Float64).mean().item<double>(), 0.295, 0.305);
        double Both(Tensor a, Tensor b) => a.eq(Scalars.Zero).logical_and(b.eq(Scalars.Zero)).to(ScalarType.Float64).mean().item<double>();
        Assert.InRange(Both(first, second), 0.085, 0.095);
        Assert.InRange(Both(first, other), 0.085, 0.095);
        var neighbours = first.eq(Scalars.Zero);
        Assert.InRange(neighbours[1..].logical_and(neighbours[..^1]).to(ScalarType.Float64).mean().item<double>(), 0.085, 0.095);
        Assert.Equal(1 / 0.7, first.max().item<float>(), 1e-6);
    }

    [Fact]
    public void Counts_of_draws_repeat_masks_in_every_type()
    {
        using var scope = NewDisposeScope();
        var dropout = new LoraDropout(0.5);
        dropout.Seed(-3, 2);
        var x = randn(7, 33);
        var first = dropout.Apply(x);
        var second = dropout.Apply(x.to(ScalarType.BFloat16));
        Assert.Equal(2, dropout.Draws);
        var again = LoraDropout.Repeat([dropout], [0], () => dropout.Apply(x));
        Assert.Equal(2, dropout.Draws);
        Assert.True(first.equal(again).all().item<bool>());
        dropout.Draws = 1;
        Assert.True(second.equal(dropout.Apply(x.to(ScalarType.BFloat16))).all().item<bool>());
        Assert.False(first.eq(Scalars.Zero).equal(second.eq(Scalars.Zero)).all().item<bool>());
    }
}
