using HybridArchitectures.Kernels.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the CUDA kernel that sums partial gradients, under emulation.</summary>
public class PartialSumsCudaTests
{
    [Fact]
    public void Parts_are_added_up_in_the_type_of_what_they_are_the_gradient_of() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        // many numbers of few parts, few numbers of many parts in up to 64 threads, numbers that do not come in fours, one part alone, none at all
        foreach (var (parts, size) in new[] { (3, new long[] { 500, 3 }), (1100, [64]), (40, [2, 5]), (1, [9]), (0, [8]), (257, [1]), (17, [4096]) })
            foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
            {
                var all = randn([parts, .. size]);
                var sum = Assert.Single(PartialSumsCuda.Compute((all, zeros(size, type))))!;
                Assert.Equal(type, sum.dtype);
                Assert.Equal(size, sum.shape);
                var exact = all.to(ScalarType.Float64).sum(dim: 0);
                // one rounding at the end, where many parts are added up in double
                var off = (sum.to(ScalarType.Float64) - exact).abs() - exact.abs() * (type == ScalarType.BFloat16 ? 4e-3 : 1.2e-7);
                Assert.True(off.max().item<double>() <= (parts < 16 ? 1e-6 : 1e-30),
                    $"{parts} parts of {string.Join(" x ", size)}, {type}: off by {off.max().item<double>()} more than rounding");
            }
    });

    [Fact]
    public void Five_are_added_up_at_once_and_absent_ones_left_out() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        Tensor[] parts = [randn(20, 33), randn(2, 7, 8), randn(100, 4), randn(6, 1)];
        var sums = PartialSumsCuda.Compute((parts[0], parts[0]), (null, parts[0]), (parts[1], parts[1]), (parts[2], null), (parts[3], parts[3]));
        Assert.Equal([true, false, true, false, true], sums.Select(sum => sum is not null));
        foreach (var (sum, i) in new[] { (sums[0]!, 0), (sums[2]!, 1), (sums[4]!, 3) })
            Assert.True(sum.allclose(parts[i].sum(dim: 0), 1e-5, 1e-5), $"the sum of parts {i}");
    });

    [Fact]
    public void A_single_part_of_the_right_type_is_the_sum() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        var part = randn(1, 6).to(ScalarType.BFloat16);
        Assert.True(Assert.Single(PartialSumsCuda.Compute((part, part)))!.equal(part[0]).all().item<bool>());
    });
}
