using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public class HybridStackTests
{
    [Fact]
    public void Vectors_go_in_and_vectors_come_out_with_gradients_for_the_input()
    {
        using var scope = NewDisposeScope();
        using var stack = TinyDesigns.Get("inter").CreateStack(seed: 1);
        var x = randn(2, 9, 24).requires_grad_();
        var y = stack.Forward(x);
        Assert.Equal([2L, 9, 24], y.shape);
        Autograd.Backward(y.square().sum());
        Assert.True(x.grad!.abs().min().item<float>() > 0);
    }

    [Fact]
    public void A_stack_continues_through_its_cache()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var stack = TinyDesigns.Get("intra difference").CreateStack(seed: 1);
        var x = randn(2, 9, 24);
        using var cache = stack.CreateCache(2);
        var parts = new List<Tensor>();
        foreach (var (start, count) in new[] { (0, 4), (4, 1), (5, 4) })
        {
            using var context = new SequenceContext(cache: cache);
            parts.Add(stack.Forward(x.narrow(1, start, count), context));
        }
        Assert.True(cat(parts, 1).allclose(stack.Forward(x), rtol: 1e-4, atol: 1e-4));
    }

    [Fact]
    public void An_observer_sees_every_block()
    {
        using var scope = NewDisposeScope();
        using var stack = TinyDesigns.Get("inter").CreateStack(seed: 1);
        var seen = new List<int>();
        stack.Observer = (block, _) => seen.Add(block);
        stack.Forward(randn(1, 3, 24));
        Assert.Equal([-1, 0, 1, 2, 3, 4], seen);
    }

    [Fact]
    public void Wrong_widths_and_foreign_caches_are_refused()
    {
        using var scope = NewDisposeScope();
        using var stack = TinyDesigns.Get("inter").CreateStack(seed: 1);
        using var other = TinyDesigns.Get("mamba1").CreateStack(seed: 1);
        Assert.Contains("expected (batch, length, 24)", Assert.Throws<ArgumentException>("x", () => stack.Forward(randn(1, 3, 23))).Message);
        using var cache = other.CreateCache(1);
        Assert.Contains("context has a cache for 2 blocks; expected 4",
            Assert.Throws<ArgumentException>(
            "context", () => { using var context = new SequenceContext(cache: cache); stack.Forward(randn(1, 3, 24), context); }).Message);
    }
}
