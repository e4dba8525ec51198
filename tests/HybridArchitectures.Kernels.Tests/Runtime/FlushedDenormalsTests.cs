using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class FlushedDenormalsTests
{
    const int Many = 1 << 20;       // enough that libtorch shares them among its threads

    // 1e-30 * 1e-10, below the smallest normal number of float32
    static long Kept(long count) =>
    (full([count], Scalars.From(1e-30), ScalarType.Float32) * full([count], Scalars.From(1e-10), ScalarType.Float32)).ne(
    Scalars.Zero).sum().item<long>();

    [Theory]
    [InlineData(3)]
    [InlineData(Many)]
    public void In_a_backward_pass_they_are_zero_on_every_thread_and_afterwards_they_are_not(int count)
    {
        using var scope = NewDisposeScope();
        Assert.Equal(count, Kept(count));
        long within = -1;
        var x = full([count], Scalars.From(1e-10), ScalarType.Float32).requires_grad_();
        var y = Autograd.Apply([x], context => [x.detach().clone()], context =>
        {
            within = Kept(count);
            return [context.Gradients[0]! * full([count], Scalars.From(1e-10), ScalarType.Float32)];
        })[0];
        Autograd.Backward(y, full([count], Scalars.From(1e-30), ScalarType.Float32));
        Assert.Equal(0, within);
        Assert.Equal(0, x.grad!.ne(Scalars.Zero).sum().item<long>());
        Assert.Equal(count, Kept(count));
    }

    [Fact]
    public void A_backward_pass_within_another_leaves_them_zero_there()
    {
        using var scope = NewDisposeScope();
        long after = -1;
        var x = ones(3).requires_grad_();
        var y = Autograd.Apply([x], context => [x.detach().clone()], context =>
        {
            using (enable_grad())
            {
                var inner = ones(3).requires_grad_();
                Autograd.Backward((inner * inner).sum());
            }
            after = Kept(Many);
            return [context.Gradients[0]];
        })[0];
        Autograd.Backward(y.sum());
        Assert.Equal(0, after);
        Assert.Equal(3, Kept(3));
    }

    [Fact]
    public void A_backward_pass_that_fails_leaves_nothing_changed()
    {
        using var scope = NewDisposeScope();
        var x = ones(3).requires_grad_();
        var y = Autograd.Apply([x], context => [x.detach().clone()], context => throw new InvalidDataException("no gradient"))[0];
        Assert.Throws<InvalidDataException>(() => Autograd.Backward(y.sum()));
        Assert.Equal(Many, Kept(Many));
    }
}
