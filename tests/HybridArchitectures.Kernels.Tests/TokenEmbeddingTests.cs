using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Compares the gradient of an embedding that is also the weight of the head with that of libtorch.</summary>
public class TokenEmbeddingTests
{
    const int Width = 16;

    // the gradient of the weight, and the number of dense gradients that libtorch accumulated
    static Tensor Gradient(Tensor ids, int vocabulary, bool collects, int passes, ScalarType compute, Device device, out bool isCollected)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var weight = randn(vocabulary, Width).to(device).requires_grad_();
        var collection = new GradientCollection([weight]);
        using var options = OperatorOptions.Use(OperatorOptions.Current with { Gradients = collects ? collection : null });
        var loss = zeros([], device: device);
        for (int pass = 0; pass < passes; pass++)
        {
            var hidden = TokenEmbedding.Forward(weight, ids, null).tanh().to(compute).view(-1, Width);
            loss = loss.add(LinearCrossEntropy.Forward(hidden, weight, randint(vocabulary, [hidden.size(0)], ScalarType.Int64).to(device)),
                Scalars.One);
        }
        Autograd.Backward(loss);
        isCollected = weight.grad is null;
        return collection.Of(weight)!.MoveToOuterDisposeScope();
    }

    static void AreEqual(Tensor ids, int vocabulary, int passes, bool isCollected, ScalarType compute, Device device)
    {
        using var scope = NewDisposeScope();
        var expected = Gradient(ids, vocabulary, false, passes, compute, device, out bool without);
        var own = Gradient(ids, vocabulary, true, passes, compute, device, out bool with);
        Assert.Equal((false, isCollected), (without, with));
        Assert.Equal(expected.dtype, own.dtype);
        Assert.True(expected.equal(own).all().item<bool>());
    }

    // a few tokens often, as in a text
    static Tensor Ids(int rows, int length, int vocabulary) => randint(vocabulary, [rows, length], ScalarType.Int64)
        .minimum(randint(vocabulary, [rows, length], ScalarType.Int64)).minimum(randint(vocabulary, [rows, length], ScalarType.Int64));

    [Theory]
    [InlineData(2, 20, 200, 1, true), InlineData(1, 1, 8, 1, true), InlineData(3, 300, 2000, 1, true)]
    [InlineData(2, 20, 60, 1, false)]           // few rows per token
    [InlineData(2, 20, 200, 2, false)]          // used twice
    public void The_gradient_has_the_bits_of_the_sum(int rows, int length, int vocabulary, int passes, bool isCollected)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        AreEqual(Ids(rows, length, vocabulary), vocabulary, passes, isCollected, ScalarType.Float32, CPU);
    }

    [Fact]
    public void It_does_with_the_kernels_of_the_loss() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        AreEqual(Ids(2, 9, 64), 64, 1, true, ScalarType.BFloat16, CPU);
    });

    [Theory, Trait("device", "cuda")]
    [InlineData(40, 200), InlineData(3000, 8000), InlineData(16_384, 128_256)]
    public void It_does_on_a_GPU(int length, int vocabulary)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        AreEqual(Ids(1, length, vocabulary).to(CUDA), vocabulary, 1, true, ScalarType.BFloat16, CUDA);
    }

    [Fact]
    public void Padding_and_weights_that_are_not_collected_are_left_to_libtorch()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var weight = randn(50, Width).requires_grad_();
        var collection = new GradientCollection([weight]);
        using var options = OperatorOptions.Use(OperatorOptions.Current with { Gradients = collection });
        var ids = tensor(new long[] { 3, 3, 7, 0 });
        Autograd.Backward(TokenEmbedding.Forward(weight, ids, 3).sum());
        Assert.Equal([0, Width, Width], collection.Of(weight)!.sum(1).index_select(0, tensor(new long[] { 3, 7, 0 })).data<float>().ToArray());
    }
}
