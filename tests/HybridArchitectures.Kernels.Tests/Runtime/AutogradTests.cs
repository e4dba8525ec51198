using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class AutogradTests
{
    // y = a * b, s = a + b, with everything saved
    static Tensor[] ProductAndSum(Tensor a, Tensor b, Tensor? absent = null) => Autograd.Apply(
        [a, absent, b],
        context =>
        {
            var product = a * b;
            context.Save(a, null, b, product);
            return [product, a.add(b, Scalars.One)];       // not a + b: that makes a temporary scalar 1
        },
        context =>
        {
            var (dProduct, dSum) = (context.Gradients[0], context.Gradients[1]);
            Assert.Null(context.Saved[1]);
            Tensor Combine(Tensor other) => (dProduct is null ? zeros_like(other) : dProduct * other).add(dSum ?? zeros_like(other), Scalars.One);
            return [context.Needs(0) ? Combine(context.Saved[2]!) : null, null, context.Needs(2) ? Combine(context.Saved[0]!) : null];
        });

    [Fact]
    public void Outputs_that_are_no_new_tensors_and_absent_tensors_are_refused()
    {
        using var scope = NewDisposeScope();
        var (x, fixedInput) = (ones([2, 3], requires_grad: true), ones(2, 3));
        var disposed = ones(2);
        disposed.Dispose();
        var shared = ones(2);
        foreach (var outputs in new Tensor[]?[]
        {
            null, [], [null!], [disposed], [x], [fixedInput], [ones([2], requires_grad: true)], [shared, shared],
        })
        {
            var refusal = Assert.Throws<InvalidOperationException>(() => Autograd.Apply([x, fixedInput], _ => outputs!, _ => [null, null]));
            Assert.Contains("; expected ", refusal.Message);
        }
        Assert.Contains("output 1", Assert.Throws<InvalidOperationException>(
            () => Autograd.Apply([fixedInput], _ => [ones(2), null!], _ => [null])).Message);
        var y = Autograd.Apply([x], _ => [ones(2, 3)], _ => null!)[0];
        Assert.Contains("one per input", Assert.Throws<InvalidOperationException>(() => Autograd.Backward(y.sum())).Message);
        Assert.False(fixedInput.requires_grad);
        Assert.Equal("outputs", Assert.Throws<ArgumentException>(() => Autograd.Backward([null!], [ones(1)])).ParamName);
        Assert.Equal("gradients", Assert.Throws<ArgumentException>(() => Autograd.Backward([x.sum()], [null!])).ParamName);
        var released = x.sum();
        released.Dispose();
        Assert.Equal("output", Assert.Throws<ArgumentException>(() => Autograd.Backward(released)).ParamName);
        Assert.Equal("gradients", Assert.Throws<ArgumentException>(() => Autograd.Backward([x.sum()], [released])).ParamName);
    }

    [Fact]
    public void Gradients_of_several_outputs_reach_every_input()
    {
        using var scope = NewDisposeScope();
        var a = rand(5).requires_grad_(); var b = rand(5).requires_grad_();
        var outputs = ProductAndSum(a, b);
        Autograd.Backward((outputs[0] * outputs[0]).sum() + outputs[1].sum());
        var expected = 2 * a.detach() * b.detach() * b.detach() + 1;
        Assert.True(a.grad!.allclose(expected));
        Assert.True(b.grad!.allclose(2 * a.detach() * a.detach() * b.detach() + 1));
    }

    [Fact]
    public void A_gradient_function_of_nulls_alone_passes_nothing_on()
    {
        using var scope = NewDisposeScope();
        var others = AutogradNode.Nodes.ToHashSet();        // a pass that failed before may have left some
        Func<Tensor, Tensor>[] operators =
        [
            x => RmsNorm.Forward(x, ones(8)),
            x => GatedRmsNorm.Forward(x, x, ones(8)),
            x => SwiGlu.Forward(x, x),
            x => CausalConvolution.Forward(x, ones(8, 3), null).Output,
        ];
        foreach (var apply in operators)
        {
            var x = ones(1, 2, 8).requires_grad_();
            var stopped = Autograd.Apply([apply(x)], context => [ones(3)], _ => [null])[0];
            Autograd.Backward(stopped.sum());
            Assert.True(x.grad is null);
        }
        Assert.Equal(0, AutogradNode.Nodes.Count(node => !others.Contains(node) && node.SavedBytes() > 0));
    }

    [Fact]
    public void An_output_nobody_used_gives_no_gradient()
    {
        using var scope = NewDisposeScope();
        var a = rand(5).requires_grad_(); var b = rand(5);
        Autograd.Backward(ProductAndSum(a, b)[1].sum());
        Assert.True(a.grad!.allclose(ones(5)));
        Assert.Null(b.grad);
    }

    [Fact]
    public void An_exception_in_a_gradient_reaches_the_caller_and_the_next_pass_works()
    {
        using var scope = NewDisposeScope();
        var a = rand(3).requires_grad_();
        var broken = Autograd.Apply([a], _ => [a * 2], _ => throw new FormatException("told so"))[0];
        Assert.Equal("told so", Assert.Throws<FormatException>(() => Autograd.Backward(broken.sum())).Message);
        var sound = Autograd.Apply([a], _ => [a * 2], context => [context.Gradients[0]! * 2])[0];
        Autograd.Backward(sound.sum());
        Assert.True(a.grad!.allclose(full(3, 2.0f)));
    }

    [Fact]
    public void An_error_of_libtorch_in_a_gradient_keeps_its_text()
    {
        using var scope = NewDisposeScope();
        var a = rand(3).requires_grad_();
        var broken = Autograd.Apply([a], _ => [a * 2], _ => [zeros(4, 5).mm(zeros(3, 2))])[0];
        var error = Assert.ThrowsAny<Exception>(() => Autograd.Backward(broken.sum()));
        Assert.Contains("mat1 and mat2 shapes cannot be multiplied", error.Message);
    }

    [Fact]
    public void A_gradient_of_the_wrong_shape_is_refused()
    {
        using var scope = NewDisposeScope();
        var a = rand(3).requires_grad_();
        var broken = Autograd.Apply([a], _ => [a * 2], _ => [zeros(4)])[0];
        Assert.Contains("invalid gradient", Assert.ThrowsAny<Exception>(() => Autograd.Backward(broken.sum())).Message);
    }

    [Fact]
    public void A_second_pass_needs_the_graph_to_be_kept()
    {
        using var scope = NewDisposeScope();
        var a = rand(3).requires_grad_(); var b = rand(3).requires_grad_();
        var sum = ProductAndSum(a, b)[0].sum();
        Autograd.Backward(sum, retainGraph: true);
        Autograd.Backward(sum);
        Assert.True(a.grad!.allclose(2 * b.detach()));
        Assert.ThrowsAny<Exception>(() => Autograd.Backward(sum));
    }

    [Fact]
    public void One_gradient_may_serve_two_inputs()
    {
        using var scope = NewDisposeScope();
        var a = rand(3).requires_grad_(); var b = rand(3).requires_grad_();
        var sum = Autograd.Apply([a, b], _ => [a + b], context => [context.Gradients[0], context.Gradients[0]])[0];
        Autograd.Backward((sum * 3).sum());
        Assert.True(a.grad!.allclose(full(3, 3.0f)) && b.grad!.allclose(full(3, 3.0f)));
    }

    [Fact]
    public void A_leaf_takes_over_the_memory_of_its_gradient()
    {
        using var scope = NewDisposeScope();
        var a = rand(3, 4).requires_grad_();
        nint made = 0;
        var output = Autograd.Apply([a], _ => [a * 2], context =>
        {
            var gradient = context.Gradients[0]! * 2;
            made = TensorMemory.Pointer(gradient);
            return [gradient];
        })[0];
        Autograd.Backward(output.sum());
        Assert.Equal(made, TensorMemory.Pointer(a.grad!));
    }

    [Fact]
    public void A_leaf_does_not_take_over_memory_that_others_use()
    {
        using var scope = NewDisposeScope();
        var a = rand(3, 4).requires_grad_(); var b = rand(3, 4).requires_grad_(); var c = rand(3, 4).requires_grad_();
        var d = rand(3, 4).requires_grad_();
        var (direction, outside, saved) = (ones(3, 4), ones(3, 4), ones(3, 4));
        var output = Autograd.Apply([a, b, c, d], context =>
        {
            context.Save(saved);
            return [a.clone()];
        }, context => [context.Gradients[0], context.Gradients[0]!.view(3, 4), outside, context.Saved[0]!.view(3, 4)])[0];
        Autograd.Backward(output, direction);
        var all = new[] { a.grad!, b.grad!, c.grad!, d.grad!, direction, outside, saved };
        Assert.Equal(all.Length, all.Select(TensorMemory.Pointer).Distinct().Count());
        foreach (var leaf in new[] { a, b, c, d }) Assert.True(leaf.grad!.allclose(ones(3, 4)));
    }

    [Fact]
    public void A_changed_saved_tensor_is_refused()
    {
        using var scope = NewDisposeScope();
        var a = rand(3).requires_grad_(); var b = rand(3);
        var outputs = ProductAndSum(a, b);
        b.add_(1);
        Assert.ThrowsAny<Exception>(() => Autograd.Backward(outputs[0].sum()));
    }

    [Fact]
    public void An_output_without_a_gradient_is_refused_in_words()
    {
        using var scope = NewDisposeScope();
        var x = ones(2).requires_grad_();
        Tensor y;
        using (no_grad()) y = x.sum();
        Assert.StartsWith("output 0 requires no gradient; expected ", Assert.Throws<ArgumentException>(() => Autograd.Backward(y)).Message);
        var refusal = Assert.Throws<ArgumentException>(() => Autograd.Backward([x.sum(), y], [ones([]), ones([])]));
        Assert.StartsWith("output 1 requires no gradient; expected ", refusal.Message);
        Assert.Null(x.grad);
    }

    [Fact]
    public void Nothing_is_recorded_without_need()
    {
        using var scope = NewDisposeScope();
        var earlier = AutogradNode.Nodes;
        var a = rand(3).requires_grad_();
        using (no_grad()) Assert.False(ProductAndSum(a, a)[0].requires_grad);
        Assert.False(ProductAndSum(rand(3), rand(3))[0].requires_grad);
        Assert.Empty(AutogradNode.Nodes.Except(earlier));
    }

    [Fact]
    public void Steps_stay_right_and_leave_nothing_under_continuous_garbage_collection()
    {
        using var outer = NewDisposeScope();
        var a = full(16, 3.0f).requires_grad_(); var b = full(16, 5.0f).requires_grad_();
        var earlier = AutogradNode.Nodes;
        OperatorCheck.UnderGarbageCollection(TimeSpan.FromSeconds(4), 50, () =>
        {
            using var scope = NewDisposeScope();
            var outputs = ProductAndSum(a, b);
            var again = ProductAndSum(outputs[0], outputs[1]);
            Autograd.Backward(again[0].sum());       // ab(a+b): d/da = 2ab + b^2
            Assert.Equal(55f, a.grad![7].item<float>());
            Assert.Equal(39f, b.grad![3].item<float>());
            a.grad!.zero_(); b.grad!.zero_();
        });
        Assert.Empty(AutogradNode.Nodes.Except(earlier));
    }
}
