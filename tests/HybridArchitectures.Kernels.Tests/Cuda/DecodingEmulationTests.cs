using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the kernels of decoding steps under emulation: products of a few rows, products with a weight per row, and the writing of caches.
/// </summary>
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

    // the shared memory of a block and the multiprocessors of compute capability 9.0, 8.0 and 8.9
    [Theory]
    [InlineData(232_448, 132)]
    [InlineData(166_912, 108)]
    [InlineData(101_376, 128)]
    public void Blocks_of_a_product_fit_on_the_multiprocessors(long sharedMemory, int multiprocessors)
    {
        const int Reserved = 1024, Tile = 16;
        foreach (long inputs in new[] { 64L, 2048, 4096, 8192 })
            foreach (long outputs in new[] { 16L, 2048, 3072, 8480, 128_256 })
                foreach (bool gated in new[] { false, true })
                    for (long rows = 1; rows <= FewRowsLinearCuda.MaxRows; rows++)
                    {
                        string what = $"{rows} rows, {inputs} to {outputs}, gated {gated}";
                        if (FewRowsShape.For(rows, inputs, gated, false, default, sharedMemory) is not { } fitting) continue;
                        var (shape, blocks) = fitting.For(outputs / Tile, rows, inputs, sharedMemory, multiprocessors);
                        long bytes = shape.SharedBytes(rows, inputs), together = (blocks + multiprocessors - 1) / multiprocessors;
                        Assert.True(bytes <= sharedMemory, $"{what}: {bytes} bytes");
                        Assert.True(together * (bytes + Reserved) <= sharedMemory + Reserved, $"{what}: {blocks} blocks of {bytes} bytes");
                        Assert.InRange(blocks, 1, outputs / Tile);
                        Assert.True(shape.Depth >= 2, $"{what}: depth {shape.Depth}");
                    }
        // one row of a 1B model on compute capability 9.0: two blocks with six rounds each
        if (multiprocessors != 132) return;
        var (head, headBlocks) = FewRowsShape.For(1, 2048, false, false, default, sharedMemory)!.Value.For(8016, 1, 2048, sharedMemory, 132);
        Assert.Equal((6, 264), (head.Depth, headBlocks));
    }

    [Theory]
    [InlineData(3, 1)]
    [InlineData(2, 1000)]
    [InlineData(1, 128_256)]
    public void The_most_probable_tokens(int rows, int count)
    {
        using var random = manual_seed(9);
        var scores = randn(rows, count);
        if (count > 1)
        {
            foreach (int at in new[] { 500, count - 1 }) scores[0, at].fill_(Scalars.From(9));
            if (rows > 1) scores[1, 77].fill_(Scalars.From(double.NaN));
        }
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            Tensor ids = zeros([rows, 1], ScalarType.Int64), result = zeros([2, rows], ScalarType.Int64);
            GreedyTokens.Select(scores, ids, result);
            var expected = count == 1 ? zeros([rows], ScalarType.Int64) : tensor(new long[] { 500, 77 }).narrow(0, 0, rows);
            Assert.True(ids.squeeze(1).equal(expected).all().item<bool>());
            Assert.True(result[0].equal(expected).all().item<bool>());
            Assert.Equal(count > 1 && rows > 1 ? [1L, 0] : Enumerable.Repeat(1L, rows), TensorMemory.ToArray<long>(result[1].contiguous()));
        });
    }

    [Theory]
    [InlineData(2, 1, 0, 16, 10)]
    [InlineData(2, 3, 0, 32, 8)]
    [InlineData(3, 1, 5, 16, 16)]
    public void A_product_that_writes_the_cache_is_as_separate_operators(int batch, int length, int window, int size, int valueSize)
    {
        using var random = manual_seed(10);
        const int Sinks = 2, Inputs = 104;
        int slots = window == 0 ? 9 : window + Sinks;
        Tensor x = Normal(batch, length, Inputs), query = Normal(4 * size, Inputs) / 8, key = Normal(2 * size, Inputs) / 8,
            value = Normal(2 * valueSize, Inputs) / 8, bias = randn(2 * size), scale = randn(Inputs);
        var lengths = tensor(new[] { length, 7, 12 }).to(ScalarType.Int32).narrow(0, 0, batch);
        Tensor cosine = randn(20, size / 2), sine = randn(20, size / 2);
        Tensor keys = Normal(batch, slots + 1, 2, size), values = Normal(batch, slots + 1, 2, valueSize),
            positions = full([batch, slots + 1], -1, ScalarType.Int64);
        (Tensor, Tensor, Tensor, Tensor) Run(bool fused)
        {
            Tensor ownKeys = keys.clone(), ownValues = values.clone(), own = positions.clone();
            var (k, v, p) = (ownKeys.narrow(1, 0, slots), ownValues.narrow(1, 0, slots), window == 0 ? null : own.narrow(1, 0, slots));
            (Tensor, Tensor?)[] weights = [(query, null), (key, bias), (value, null)];
            var norm = new FewRowsFusion(FewRowsNorm.Plain, scale, 1e-5);
            var target = new CacheTarget((cosine, sine), lengths, k, v, p, window, window == 0 ? 0 : Sinks);
            if (fused) return (FewRowsLinear.ForwardFused(x, weights, false, norm with { Cache = target })![0], ownKeys, ownValues, own);
            var projected = FewRowsLinear.ForwardFused(x, weights, false, norm)!;
            var turned = CacheAppend.Forward(projected[0].view(batch, length, 4, size), projected[1].view(batch, length, 2, size),
                projected[2].view(batch, length, 2, valueSize), target);
            return (turned.flatten(2), ownKeys, ownValues, own);
        }
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            var (expected, actual) = (Run(false), Run(true));
            // a sum of two products may be rounded once or twice
            Assert.True(actual.Item1.allclose(expected.Item1, 1.0 / 128, 1e-3));
            Assert.True(actual.Item2.allclose(expected.Item2, 1.0 / 128, 1e-3));
            Assert.True(actual.Item3.equal(expected.Item3).all().item<bool>());
            Assert.True(actual.Item4.equal(expected.Item4).all().item<bool>());
            Assert.False(actual.Item2.equal(keys).all().item<bool>());
        });
    }

    [Theory]
    [InlineData(1, 4, true)]
    [InlineData(9, 3, false)]
    public void A_product_with_a_convolution_is_as_separate_operators(int rows, int width, bool biased)
    {
        using var random = manual_seed(11);
        const int Inputs = 136, Outputs = 70, First = 20, Channels = 37;
        Tensor x = Normal(rows, Inputs), weight = Normal(Outputs, Inputs) / 8, filter = randn(Channels, width), state = Normal(rows, width - 1,
            Channels);
        var bias = biased ? randn(Channels) : null;
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            Tensor before = state.clone(), after = state.clone();
            var expected = FewRowsLinear.Forward(x, weight).clone();
            var channels = expected.narrow(1, First, Channels);
            channels.copy_(CausalConvolution.Step(before, channels, filter, bias, silu: true));
            var step = new FewRowsConvolutionStep(after, filter, bias, First, IsSilu: true);
            var actual = FewRowsLinear.ForwardFused(x, [(weight, null)], false, new(Convolution: step))![0];
            Assert.True(actual.allclose(expected, 1.0 / 128, 1e-4));
            Assert.True(after.equal(before).all().item<bool>());
        });
    }

    [Theory]
    [InlineData(1, 5, 4, true)]
    [InlineData(3, 4, 3, false)]
    [InlineData(2, 8, 2, true)]
    [InlineData(2, 2, 8, true)]
    public void A_product_with_a_convolution_of_several_tokens_is_one_product_for_each_token(int batch, int length, int width, bool biased)
    {
        using var random = manual_seed(12);
        const int Inputs = 136, Outputs = 70, First = 20, Channels = 37;
        Tensor x = Normal(batch, length, Inputs), weight = Normal(Outputs, Inputs) / 8, filter = randn(Channels, width),
            state = Normal(batch, width - 1, Channels);
        var bias = biased ? randn(Channels) : null;
        Tensor Product(Tensor rows, FewRowsConvolutionStep step) =>
            FewRowsLinear.ForwardFused(rows, [(weight, null)], false, new(Convolution: step))![0];
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            var states = new Tensor[length + 1];
            states[0] = state.clone();
            var expected = new Tensor[length];
            for (int token = 0; token < length; token++)
            {
                states[token + 1] = states[token].clone();
                expected[token] = Product(x.narrow(1, token, 1), new(states[token + 1], filter, bias, First, IsSilu: true));
            }
            var after = state.clone();
            var step = CausalConvolution.OverTokens(new(after, filter, bias, First, IsSilu: true), length);
            Assert.True(Product(x, step).equal(cat(expected, 1)).all().item<bool>());
            Assert.True(after.equal(states[length]).all().item<bool>());
            using var replay = CausalConvolution.Replay(step);
            for (int count = 1; count < length; count++)
            {
                replay.Run(after, full([batch], count, ScalarType.Int64));
                Assert.True(after.equal(states[count]).all().item<bool>(), $"{count} tokens");
                after.copy_(states[length]);
            }
        });
    }

    [Theory]
    [InlineData(1, 16, 1, true, false)]
    [InlineData(5, 40, 3, true, true)]
    [InlineData(4, 9, 2, false, true)]
    public void Experts_are_routed_and_added_up_as_by_separate_operators(int tokens, int experts, int choices, bool sigmoid, bool renormalize)
    {
        using var random = manual_seed(13);
        const int Inputs = 328;
        Tensor x = Normal(tokens, Inputs), router = randn(experts, Inputs) / 16, bias = randn(experts) / 4, outputs = Normal(tokens * choices, 40),
            common = Normal(tokens, 40);
        var logits = nn.functional.linear(x.to(ScalarType.Float32), router);
        var scores = sigmoid ? logits.sigmoid() : logits.softmax(-1);
        var chosen = (scores + bias).topk(choices, -1).indexes;
        var weights = scores.gather(-1, chosen);
        if (renormalize) weights /= weights.sum(-1, keepdim: true);
        weights = (weights * 2.5).to(ScalarType.BFloat16);
        var each = outputs * weights.flatten().unsqueeze(1);
        var expected = each.view(tokens, choices, 40).sum(1) + common;
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            Assert.True(ExpertRoutingCuda.Serves(x, router));
            var actual = ExpertRoutingCuda.Route(x, router, bias, choices, sigmoid, renormalize, 2.5);
            Assert.True(actual.Chosen.equal(chosen).all().item<bool>());
            Assert.True(actual.Weights.allclose(weights, 1.0 / 128, 1e-6));
            Assert.True(ExpertRoutingCuda.Mix(outputs, weights, common, choices).allclose(expected, 1.0 / 128, 1e-3));
            var sum = outputs.to(ScalarType.Float64).view(tokens, choices, 40).sum(1);
            Assert.True(ExpertRoutingCuda.Mix(outputs, null, null, choices).to(ScalarType.Float64).allclose(sum, 1.0 / 128, 1e-3));
        });
    }

    [Fact]
    public void Rows_that_shared_memory_does_not_hold_are_the_same()
    {
        using var random = manual_seed(12);
        Tensor x = Normal(16, 8192), weight = Normal(9, 8192) / 64;
        using var emulation = new CudaEmulation();
        var all = FewRowsLinear.Forward(x, weight);
        IsNear(Exact(x, weight), all);
        Assert.True(FewRowsLinear.Forward(x.narrow(0, 5, 3), weight).equal(all.narrow(0, 5, 3)).all().item<bool>());
    }

    [Theory]
    [InlineData(1, 40, 264, false)]
    [InlineData(3, 33, 2304, true)]
    [InlineData(9, 48, 640, false)]
    [InlineData(16, 16, 72, true)]
    public void A_norm_before_and_a_sum_after_are_as_separate_operators(int rows, int outputs, int inputs, bool gates)
    {
        using var random = manual_seed(8);
        Tensor x = Normal(rows, inputs), weight = Normal(outputs, inputs) / 16, scale = randn(inputs), residual = Normal(rows, outputs);
        var wide = Normal(rows, inputs + 8);
        var gate = gates ? wide.narrow(1, 8, inputs) : null;
        var fusion = new FewRowsFusion(gates ? FewRowsNorm.Gated : FewRowsNorm.Plain, scale, 1e-5, gate, residual);
        Tensor Exact64(Tensor of) => of.to(ScalarType.Float64);
        var entering = gate is null ? Exact64(x) : Exact64(x) * nn.functional.silu(Exact64(gate));
        var normed = entering / (entering.square().mean([1], true) + 1e-5).sqrt() * Exact64(scale);
        var expected = nn.functional.linear(normed, Exact64(weight)) + Exact64(residual);
        // as separate operators round: the norm, the product, and the sum
        var separate = nn.functional.linear(Exact64(normed.to(ScalarType.BFloat16)), Exact64(weight)).to(ScalarType.BFloat16) + residual;
        double Error(Tensor of) => (Exact64(of) - expected).norm().item<double>() / expected.norm().item<double>();
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            var actual = FewRowsLinear.ForwardFused(x, [(weight, null)], false, fusion)![0];
            Assert.InRange(Error(actual), 0, 1.1 * Error(separate) + 1e-5);
            for (int row = 0; row < rows; row += 4)
            {
                var alone = fusion with { Gate = gate?.narrow(0, row, 1), Residual = residual.narrow(0, row, 1) };
                Assert.True(FewRowsLinear.ForwardFused(x.narrow(0, row, 1), [(weight, null)], false, alone)![0][0].equal(actual[row]).all()
                    .item<bool>(), $"row {row}");
            }
            var parts = FewRowsLinear.ForwardFused(x, [(weight, null), (weight.neg(), null)], true, fusion with { Residual = null })![0];
            var both = FewRowsLinear.ForwardFused(x, [(weight, null), (weight.neg(), null)], false, fusion with { Residual = null })!;
            Assert.True(parts.equal(SwiGlu.Forward(both[0], both[1])).all().item<bool>());
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
            int targetSlots = window == 0 ? slots : slots - 1;
            var target = new CacheTarget(table, lengths, ownKeys.narrow(1, 0, targetSlots), ownValues.narrow(1, 0, targetSlots),
                own.narrow(1, 0, targetSlots), window, window == 0 ? 0 : Sinks);
            return (CacheAppend.Forward(query, key, value, target), ownKeys, ownValues, own);
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
