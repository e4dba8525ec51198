using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the decoding kernels under emulation.</summary>
public sealed class AttentionDecodeEmulationTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { AttentionDecodeBackend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    [Fact]
    public void Errors_are_those_of_the_types()
    {
        using var random = manual_seed(1);
        CudaEmulation.BothOrders(() =>
        {
            foreach (var one in AttentionDecodeChecks.Small()) AttentionDecodeChecks.Holds(one, CPU);
        });
    }

    [Fact]
    public void Long_rows_have_larger_parts()
    {
        using var random = manual_seed(2);
        using var emulation = new CudaEmulation();
        // 16 parts of 256, and 9 of 512
        AttentionDecodeChecks.Holds(new(1, 4160, 16, 16, 16, 16) { Lengths = [4096, 4159] }, CPU);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void A_row_is_the_same_to_the_bit_in_other_company(ScalarType type)
    {
        using var random = manual_seed(3);
        using var emulation = new CudaEmulation();
        AttentionDecodeChecks.IsTheSameToTheBitInOtherCompany(CPU, type);
    }

    [Theory]
    [InlineData(64, 64), InlineData(128, 128), InlineData(192, 128)]
    public void A_row_is_the_same_to_the_bit_with_more_tiles_ahead_on_a_larger_GPU(long size, long valueSize)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        var one = new AttentionDecodeChecks.Case(1, 700, 4, 2, size, valueSize) { Lengths = [690], Window = 600, Sinks = 5 };
        var inputs = AttentionDecodeChecks.Random(one, CPU);
        // one row has at most 256 blocks
        Tensor On(int multiprocessors)
        {
            using var emulation = new CudaEmulation(multiprocessors: multiprocessors);
            return AttentionDecodeChecks.Decode(one, inputs, ScalarType.BFloat16).clone();
        }
        Assert.True(On(4).Equals(On(132)));
        Assert.True(On(4).Equals(On(256)));
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void A_cache_that_is_a_slice_is_read_where_it_lies(ScalarType type)
    {
        using var random = manual_seed(4);
        using var emulation = new CudaEmulation(capability: 80);
        AttentionDecodeChecks.ReadsSlicesInPlace(CPU, type);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Calls_share_a_workspace(ScalarType type)
    {
        using var random = manual_seed(5);
        using var emulation = new CudaEmulation();
        AttentionDecodeChecks.CallsShareAWorkspace(CPU, type);
    }

    [Fact]
    public void Unsupported_inputs_are_refused_by_name_if_the_kernels_are_requested()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var lengths = ones([1], ScalarType.Int32);
        Tensor New(long size, ScalarType type = ScalarType.BFloat16) => zeros([1, 3, 2, size], type);
        void IsRefused(string what, Tensor query, Tensor keys, Tensor values) => Assert.Contains(what,
            Assert.Throws<ArgumentException>(() => AttentionDecode.Forward(query, keys, values, lengths)).Message, StringComparison.Ordinal);
        IsRefused("keys has heads of 264 elements; expected a multiple of 8 up to 256", New(264), New(264), New(8));
        IsRefused("values has heads of 12 elements; expected a multiple of 8", New(8), New(8), New(12));
        IsRefused("values has heads of 6 elements; expected a multiple of 4", New(8, ScalarType.Float32), New(8, ScalarType.Float32),
            New(6, ScalarType.Float32));
        IsRefused("keys has strides (60, 20, 10, 1)", New(8), New(10).narrow(3, 0, 8), New(8));
    }
}
