using HybridArchitectures.Kernels.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Compares the CUDA kernels of the norm of all gradients under emulation with float64.</summary>
public class GradientNormCudaTests
{
    // without elements, less than a vector, whole blocks, a rest; more gradients than a launch takes
    static readonly long[] Sizes = [0, 1, 3, 4, 16_384, 16_385, 40_000, 32_768, .. Enumerable.Repeat(5L, 130)];

    static float Norm(params Tensor[] gradients)
    {
        Assert.All(gradients, gradient => Assert.True(GradientNormCuda.Serves(gradient)));
        return GradientNormCuda.Compute(gradients).item<float>();
    }

    static double Exact(IEnumerable<Tensor> gradients) =>
        Math.Sqrt(gradients.Sum(gradient => gradient.to(ScalarType.Float64).square().sum().item<double>()));

    [Theory]
    [InlineData(1), InlineData(1e-30), InlineData(1e30)]
    public void The_norm_is_that_of_float64(double scale) => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Tensor[] gradients = [.. Sizes.Select(size => randn(size).mul_((float)scale))];
        double exact = Exact(gradients);
        Assert.InRange(Norm(gradients) / exact, 1 - 1e-7, 1 + 1e-7);
        Assert.Equal((float)Exact([gradients[1]]), Norm(gradients[1]));
    });

    [Fact]
    public void BFloat16_gradients_have_the_norm_of_their_float32_copies_to_the_bit() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        Tensor[] mixed = [.. Sizes.Select((size, i) => randn(size).to(i % 3 == 0 ? ScalarType.Float32 : ScalarType.BFloat16))];
        Assert.Equal(Norm(Array.ConvertAll(mixed, gradient => gradient.to(ScalarType.Float32))), Norm(mixed));
    });

    [Fact]
    public void Gradients_without_elements_have_norm_0() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        Assert.Equal(0, Norm(zeros(0), zeros(0, 3)));
    });

    [Theory]
    [InlineData(float.NaN), InlineData(float.PositiveInfinity), InlineData(float.NegativeInfinity)]
    public void One_number_that_is_not_finite_makes_the_norm_so(float number) => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        foreach (int at in (int[])[0, 16_383, 16_384, 20_000])
        {
            var gradient = zeros(20_001);
            gradient[at] = number;
            Assert.False(float.IsFinite(Norm(zeros(5), gradient)), $"element {at}");
        }
    });

    [Fact]
    public void Gradients_of_another_type_or_with_odd_addresses_are_not_served()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        Assert.False(GradientNormCuda.Serves(zeros(8, ScalarType.Float64)));
        Assert.False(GradientNormCuda.Serves(zeros(9)[1..]));
        Assert.False(GradientNormCuda.Serves(zeros(8, 8).t()));
    }
}
