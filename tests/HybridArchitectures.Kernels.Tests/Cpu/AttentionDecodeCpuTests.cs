using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cpu;

/// <summary>Tests decoding attention and the write to the cache before it on CPU cores.</summary>
public sealed class AttentionDecodeCpuTests
{
    [Fact]
    public void Errors_are_those_of_the_types()
    {
        using var random = manual_seed(1);
        foreach (var one in AttentionDecodeChecks.Small()) AttentionDecodeChecks.Holds(one, CPU);
    }

    [Fact]
    public void Long_rows_have_several_parts()
    {
        using var random = manual_seed(2);
        foreach (var (size, valueSize) in new[] { (64L, 64L), (20, 12) })
        {
            var one = new AttentionDecodeChecks.Case(2, 1600, 4, 2, size, valueSize) { Lengths = [1600, 513, 1, 1024] };
            AttentionDecodeChecks.Holds(one, CPU);
            AttentionDecodeChecks.Holds(one with { Window = 600, Sinks = 530, Logits = true }, CPU);
            AttentionDecodeChecks.Holds(one with { Window = 600, Sinks = 10, Ring = true, Capacity = 611, Lengths = [5000, 610, 612, 3] }, CPU);
        }
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void A_row_is_the_same_to_the_bit_in_other_company(ScalarType type)
    {
        using var random = manual_seed(3);
        AttentionDecodeChecks.IsTheSameToTheBitInOtherCompany(CPU, type);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void A_cache_that_is_a_slice_is_read_where_it_lies(ScalarType type)
    {
        using var random = manual_seed(4);
        AttentionDecodeChecks.ReadsSlicesInPlace(CPU, type);
    }

    [Fact]
    public void Results_do_not_depend_on_the_number_of_threads()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var one = new AttentionDecodeChecks.Case(3, 2000, 8, 2, 64, 64) { Lengths = [2000, 1100] };
        var inputs = AttentionDecodeChecks.Random(one, CPU);
        int threads = get_num_threads();
        try
        {
            set_num_threads(1);
            var alone = AttentionDecodeChecks.Decode(one, inputs, ScalarType.Float32);
            set_num_threads(3);
            Assert.True(AttentionDecodeChecks.Decode(one, inputs, ScalarType.Float32).Equals(alone));
        }
        finally
        {
            set_num_threads(threads);
        }
    }

    [Theory]
    [InlineData(ScalarType.Float32, KernelBackend.Cpu), InlineData(ScalarType.BFloat16, KernelBackend.Cpu)]
    [InlineData(ScalarType.Float64, KernelBackend.LibTorch)]
    public void The_default_back_end_is_that_of_the_type(ScalarType type, KernelBackend expected)
    {
        using var query = zeros([1, 1, 2, 8], type);
        Assert.Equal(expected, AttentionDecode.BackendFor(query));
    }

    [Theory]
    [InlineData(ScalarType.Float32, 12, 12, 6), InlineData(ScalarType.BFloat16, 24, 8, 4), InlineData(ScalarType.Float32, 12, 20, 0)]
    public void The_write_to_the_cache_is_that_of_composed_operators(ScalarType type, int size, int valueSize, int half)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        double tolerance = type == ScalarType.BFloat16 ? 0.02 : 1e-6;
        (Tensor Cosine, Tensor Sine)? table = half == 0 ? null
            : Rotary.Table(Indices.Range(0, 50, CPU), Rotary.InverseFrequencies(2 * half, 100)) is var (cosine, sine) ? (cosine[0], sine[0]) : null;
        foreach (var (window, sinks, slots, length) in new[] { (0, 0, 40, 3L), (0, 0, 9, 2), (7, 2, 9, 1), (7, 0, 7, 1) })
        {
            Tensor New(params long[] sizes) => randn(sizes).to(type);
            var (query, key, value) = (New(3, length, 4, size), New(3, length, 2, size), New(3, length, 2, valueSize));
            var lengths = tensor(new[] { (int)length, 9, 37 }, ScalarType.Int32);
            CacheTarget Target() => new(table, lengths, zeros([3, slots, 2, size], type), zeros([3, slots, 2, valueSize], type),
                window == 0 ? null : full([3, slots], -1, ScalarType.Int64), window, sinks);
            CacheTarget own = Target(), composed = Target();
            var turned = CacheAppend.Forward(query, key, value, own);
            using (OperatorOptions.Use(new OperatorOptions { RotaryBackend = KernelBackend.Reference }))
                OperatorCheck.Close(CacheAppend.Forward(query, key, value, composed).to(ScalarType.Float32), turned.to(ScalarType.Float32), tolerance,
                    "queries");
            OperatorCheck.Close(composed.Keys.to(ScalarType.Float32), own.Keys.to(ScalarType.Float32), tolerance, "keys");
            Assert.True(own.Values.Equals(composed.Values));
            if (window > 0) Assert.True(own.Positions!.Equals(composed.Positions!));
        }
    }
}
