using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>The kernels of decoding steps under emulation: products of a few rows, products with a weight per row, and the writing of
/// caches.</summary>
public sealed class DecodingEmulationTests : IDisposable
{
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    readonly IDisposable options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });

    public void Dispose()
    {
        options.Dispose();
        scope.Dispose();
    }

    static Tensor Normal(params long[] size) => randn(size).to(ScalarType.BFloat16);

    // products of bfloat16 are exact in float64; sums of float32 err by rounding, and the result by half a last place of bfloat16
    static void IsNear(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.Equal(ScalarType.BFloat16, actual.dtype);
        var error = (actual.to(ScalarType.Float64) - expected).abs();
        Assert.True((error <= expected.abs() / 256 + 1e-4).all().item<bool>(), $"errs by {error.max().item<double>()}");
    }

    static Tensor Exact(Tensor x, Tensor weight, Tensor? bias = null) =>
        nn.functional.linear(x.to(ScalarType.Float64), weight.to(ScalarType.Float64), bias?.to(ScalarType.Float64));

    [Theory]
    [InlineData(1, 16, 32)]
    [InlineData(1, 37, 264)]
    [InlineData(3, 64, 1000)]
    [InlineData(8, 33, 2048)]
    [InlineData(9, 48, 40)]
    [InlineData(16, 5, 520)]
    public void A_few_rows(int rows, int outputs, int inputs)
    {
        using var random = manual_seed(1);
        Tensor x = Normal(rows, inputs), weight = Normal(outputs, inputs), bias = randn(outputs);
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            IsNear(Exact(x, weight), FewRowsLinear.Forward(x, weight));
            IsNear(Exact(x, weight, bias), FewRowsLinear.Forward(x, weight, bias));
            IsNear(Exact(x, weight, bias.to(ScalarType.BFloat16)), FewRowsLinear.Forward(x, weight, bias.to(ScalarType.BFloat16)));
        });
    }

    [Fact]
    public void Several_weights_and_a_gated_pair_are_as_one_after_another()
    {
        using var random = manual_seed(2);
        Tensor x = Normal(2, 3, 96).narrow(1, 0, 2), first = Normal(40, 96), second = Normal(17, 96), third = Normal(8, 96), bias = randn(17);
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            var together = FewRowsLinear.ForwardMany(x, (first, null), (second, bias), (third, null));
            var alone = new[] { FewRowsLinear.Forward(x, first), FewRowsLinear.Forward(x, second, bias), FewRowsLinear.Forward(x, third) };
            for (int i = 0; i < 3; i++) Assert.True(together[i].equal(alone[i]).all().item<bool>(), $"{i}");
            var gated = FewRowsLinear.ForwardGated(x, (second, bias), (second.neg(), null));
            Assert.True(gated.equal(SwiGlu.Forward(alone[1], FewRowsLinear.Forward(x, second.neg()))).all().item<bool>());
        });
    }

    [Fact]
    public void A_row_does_not_depend_on_the_rows_beside_it()
    {
        using var random = manual_seed(3);
        Tensor x = Normal(16, 328), weight = Normal(30, 328);
        using var emulation = new CudaEmulation();
        var all = FewRowsLinear.Forward(x, weight);
        foreach (int rows in new[] { 1, 5, 8, 9 })
            Assert.True(FewRowsLinear.Forward(x.narrow(0, 16 - rows, rows), weight).equal(all.narrow(0, 16 - rows, rows)).all().item<bool>(),
                $"{rows} rows");
    }

    [Fact]
    public void Each_row_reads_the_weight_it_names()
    {
        using var random = manual_seed(4);
        Tensor x = Normal(3, 72), gate = Normal(5, 20, 72), up = Normal(5, 20, 72), index = tensor(new long[] { 4, 0, 2, 2, 1, 4 });
        Tensor Row(Tensor weight, int row) => FewRowsLinear.Forward(x[row / 2].unsqueeze(0), weight[index[row].item<long>()]);
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            var chosen = SelectedLinear.Forward(x, gate, index);
            Assert.True(chosen.equal(cat([.. Enumerable.Range(0, 6).Select(row => Row(gate, row))])).all().item<bool>());
            var gated = SelectedLinear.ForwardGated(x, gate, up, index);
            Assert.True(gated.equal(SwiGlu.Forward(chosen, SelectedLinear.Forward(x, up, index))).all().item<bool>());
        });
    }

    [Theory]
    [InlineData(ScalarType.Float32, 1, 8, 8, 8, 0)]
    [InlineData(ScalarType.BFloat16, 1, 16, 16, 16, 0)]
    [InlineData(ScalarType.BFloat16, 3, 6, 10, 4, 0)]
    [InlineData(ScalarType.Float32, 1, 8, 12, 6, 4)]
    [InlineData(ScalarType.BFloat16, 1, 16, 8, 0, 5)]
    public void A_cache_is_written_as_by_separate_operators(ScalarType type, int length, int size, int valueSize, int rotated, int window)
    {
        using var random = manual_seed(5);
        const int Batch = 3, Slots = 9, Sinks = 2;
        int slots = window == 0 ? Slots : window + Sinks + 1;
        Tensor New(params long[] sizes) => randn(sizes).to(type);
        Tensor query = New(Batch, length, 4, size), key = New(Batch, length, 2, size), value = New(Batch, length, 2, valueSize);
        var lengths = tensor(new[] { length, 7, 12 }).to(ScalarType.Int32);
        (Tensor, Tensor)? table = rotated == 0 ? null : (randn(20, rotated / 2), randn(20, rotated / 2));
        Tensor keys = New(Batch, slots, 2, size), values = New(Batch, slots, 2, valueSize), positions = full([Batch, slots], -1, ScalarType.Int64);
        (Tensor, Tensor, Tensor, Tensor) Run(KernelBackend backend)
        {
            using var chosen = OperatorOptions.Use(OperatorOptions.Current with { RotaryBackend = backend });
            // the last slot is not the cache's
            Tensor ownKeys = keys.clone(), ownValues = values.clone(), own = positions.clone();
            int kept = window == 0 ? slots : slots - 1;
            var turned = CacheAppend.Forward(query, key, value, table, lengths, ownKeys.narrow(1, 0, kept), ownValues.narrow(1, 0, kept),
                own.narrow(1, 0, kept), window, window == 0 ? 0 : Sinks);
            return (turned, ownKeys, ownValues, own);
        }
        var expected = Run(KernelBackend.Reference);
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            var actual = Run(KernelBackend.Cuda);
            double tolerance = type == ScalarType.BFloat16 ? 1.0 / 128 : 1e-6;       // one rounding of the turned numbers
            Assert.True(actual.Item1.allclose(expected.Item1, tolerance, 1e-6));
            Assert.True(actual.Item2.allclose(expected.Item2, tolerance, 1e-6));
            Assert.True(actual.Item3.equal(expected.Item3).all().item<bool>());
            Assert.True(actual.Item4.equal(expected.Item4).all().item<bool>());
        });
        Assert.True(expected.Item4.max().item<long>() == (window == 0 ? 6 : 11));
    }
}
