using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the decoding kernels on a GPU.</summary>
[Trait("device", "cuda")]
public sealed class AttentionDecodeDeviceTests
{
    [Fact]
    public void Errors_are_those_of_the_types()
    {
        Gpu.IsNeeded();
        foreach (var one in AttentionDecodeChecks.Small())
        {
            using var poisoned = Gpu.Poisoned();
            AttentionDecodeChecks.Holds(one, Gpu.Device);
        }
    }

    [Theory]
    [InlineData(64, 64), InlineData(128, 128), InlineData(72, 128), InlineData(256, 256)]
    public void Errors_are_those_of_the_types_for_long_rows(long size, long valueSize)
    {
        Gpu.IsNeeded();
        AttentionDecodeChecks.Holds(new(1, 9000, 32, 8, size, valueSize) { Lengths = [9000, 1, 8192, 2049, 4097, 777] }, Gpu.Device);
        AttentionDecodeChecks.Holds(new(8, 5000, 8, 1, size, valueSize) { Lengths = [5000, 4001] }, Gpu.Device);
        AttentionDecodeChecks.Holds(new(1, 5000, 16, 16, size, valueSize) { Lengths = [5000, 4001], Window = 1000, Sinks = 64 }, Gpu.Device);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void A_row_is_the_same_to_the_bit_in_other_company(ScalarType type)
    {
        Gpu.IsNeeded();
        AttentionDecodeChecks.IsTheSameToTheBitInOtherCompany(Gpu.Device, type);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void A_cache_that_is_a_slice_is_read_where_it_lies(ScalarType type)
    {
        Gpu.IsNeeded();
        AttentionDecodeChecks.ReadsSlicesInPlace(Gpu.Device, type);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Calls_share_a_workspace(ScalarType type)
    {
        Gpu.IsNeeded();
        AttentionDecodeChecks.CallsShareAWorkspace(Gpu.Device, type);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Two_hundred_runs_are_equal_to_the_bit(ScalarType type)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        var one = new AttentionDecodeChecks.Case(1, 4096, 32, 8, 128, 128) { Lengths = [4096, 4000, 700, 1] };
        var inputs = AttentionDecodeChecks.Random(one, Gpu.Device);
        var first = AttentionDecodeChecks.Decode(one, inputs, type);
        for (int run = 1; run < 200; run++)
        {
            using var inner = NewDisposeScope();
            Assert.True(AttentionDecodeChecks.Decode(one, inputs, type).Equals(first), $"run {run}");
        }
    }

    [Fact]
    public void A_cache_past_the_2_to_the_31st_element()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        const long Rows = 129, Capacity = 16_400, Heads = 8, Size = 128;
        Tensor New(long rows, long tokens, long heads) => randn([rows, tokens, heads, Size], ScalarType.BFloat16, Gpu.Device);
        var (query, keys, values) = (New(Rows, 1, 32), New(Rows, Capacity, Heads), New(Rows, Capacity, Heads));
        var lengths = full([Rows], Scalars.From(Capacity), ScalarType.Int32, Gpu.Device);
        var all = AttentionDecode.Forward(query, keys, values, lengths);
        Tensor Last(Tensor x) => x.narrow(0, Rows - 1, 1);
        Assert.True(AttentionDecode.Forward(Last(query), Last(keys).clone(), Last(values).clone(), Last(lengths)).Equals(Last(all)));
    }
}
