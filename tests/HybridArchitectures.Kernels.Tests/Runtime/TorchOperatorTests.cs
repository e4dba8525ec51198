using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class TorchOperatorTests
{
    [Fact]
    public void An_operator_without_method_is_called_with_gradients()
    {
        using var scope = NewDisposeScope();
        var x = rand(3, 8).requires_grad_(); var weight = rand(8).requires_grad_();
        var y = TorchOperator.CallMany(
            "aten::_fused_rms_norm", "", 2, x, new long[] { 8 }, OperatorArgument.Optional(weight), OperatorArgument.Optional(1e-5))[0];
        var expected = x * (x.square().mean([-1], keepdim: true) + 1e-5).rsqrt() * weight;
        Assert.True(y.allclose(expected, rtol: 1e-5, atol: 1e-6));
        Autograd.Backward(y.sum());
        Assert.True(x.grad is not null && weight.grad is not null);
    }

    [Fact]
    public void Lists_of_tensors_travel_both_ways()
    {
        using var scope = NewDisposeScope();
        Tensor a = rand(2, 3), b = rand(4, 3);
        Assert.True(TorchOperator.Call("aten::cat", "", new[] { a, b }, 0L).equal(cat([a, b], 0)).all().item<bool>());
    }

    [Fact]
    public void A_refused_call_names_operator_and_arguments()
    {
        using var scope = NewDisposeScope();
        var error = Assert.Throws<InvalidOperationException>(() => TorchOperator.Call("aten::mm", "", rand(2, 3), rand(2, 3)));
        Assert.Contains("aten::mm", error.Message);
        Assert.Contains("[2,3]", error.Message);
        Assert.Throws<InvalidOperationException>(() => TorchOperator.Call("aten::there_is_no_such_thing", ""));
    }

    [Fact]
    public void Calls_leave_no_tensor_behind()
    {
        Tensor a = rand(2, 3), b = rand(3, 2);
        LiveTensors.AssertNoneLeftBy(() => TorchOperator.Call("aten::mm", "", a, b).Dispose(), repetitions: 20);
    }

    [Fact]
    public void Memory_is_seen_without_a_copy_and_only_as_its_own_type()
    {
        using var scope = NewDisposeScope();
        var x = arange(12, ScalarType.Float32).view(3, 4);
        TensorMemory.Span<float>(x)[5] = 50;
        Assert.Equal(50f, x[1, 1].item<float>());
        Assert.Equal([8f, 9f, 10f, 11f], TensorMemory.Span<float>(x[2]).ToArray());     // from the view's own first element
        Assert.Throws<ArgumentException>("tensor", () => TensorMemory.Span<float>(x.t()).Length);
        Assert.Throws<ArgumentException>("tensor", () => TensorMemory.Span<double>(x).Length);
        Assert.Equal(0, TensorMemory.Span<float>(empty(0, 3)).Length);
    }

    [Fact]
    public void Constant_scalars_are_made_once()
    {
        Assert.Same(Scalars.From(0.25), Scalars.From(0.25));
        Assert.Same(Scalars.From(7), Scalars.From(7L));
        using var scope = NewDisposeScope();
        Assert.Equal(ScalarType.Int64, arange(3, ScalarType.Int64).mul(Scalars.Two).sub(Scalars.One).dtype);
    }
}
