using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the products of decoding steps on a GPU, at the sizes of 1B models and beyond, over memory that contained NaN.</summary>
[Trait("device", "cuda")]
public sealed class DecodingDeviceTests : IDisposable
{
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose() => scope.Dispose();

    static Tensor Normal(params long[] size) => randn(size, ScalarType.BFloat16, Gpu.Device);

    static void IsNear(Tensor x, Tensor weight, Tensor? bias, Tensor actual)
    {
        var expected = nn.functional.linear(x.to(ScalarType.Float64), weight.to(ScalarType.Float64), bias?.to(ScalarType.Float64));
        var error = (actual.to(ScalarType.Float64) - expected).abs();
        Assert.True((error <= expected.abs() / 250 + 2e-3).all().item<bool>(), $"errs by {error.max().item<double>()}");
    }

    [Theory]
    [InlineData(1, 2048, 2048), InlineData(1, 8192, 2048), InlineData(4, 2048, 8192), InlineData(16, 3072, 2048), InlineData(7, 41, 1000),
        InlineData(16, 300, 8192),
        InlineData(1, 128_256, 2048)]
    public void Products(int rows, int outputs, int inputs)
    {
        Gpu.IsNeeded();
        using var random = manual_seed(1);
        Tensor x = Normal(rows, inputs), weight = Normal(outputs, inputs), bias = randn([outputs], ScalarType.Float32, Gpu.Device);
        Assert.Equal(KernelBackend.Cuda, FewRowsLinear.BackendFor(x, weight));
        Gpu.PoisonFreeBlocks();
        using var poisoned = Gpu.Poisoned();
        IsNear(x, weight, null, FewRowsLinear.Forward(x, weight));
        var all = FewRowsLinear.Forward(x, weight, bias);
        IsNear(x, weight, bias, all);
        for (int row = 0; row < rows; row += 3)
            Assert.True(FewRowsLinear.Forward(x.narrow(0, row, 1), weight, bias)[0].equal(all[row]).all().item<bool>());
        var two = FewRowsLinear.ForwardMany(x, (weight, bias), (weight, null));
        Assert.True(two[0].equal(all).all().item<bool>());
        var gated = FewRowsLinear.ForwardGated(x, (weight, bias), (weight, null));
        Assert.True(gated.equal(SwiGlu.Forward(two[0], two[1])).all().item<bool>());
    }

    [Theory]
    [InlineData(1, 2048, 2048, false), InlineData(4, 2048, 4096, true), InlineData(16, 3072, 2048, false), InlineData(7, 41, 1000, true)]
    public void Products_with_a_norm_and_a_sum(int rows, int outputs, int inputs, bool gates)
    {
        Gpu.IsNeeded();
        using var random = manual_seed(3);
        Tensor x = Normal(rows, inputs), weight = Normal(outputs, inputs) / 16, scale = randn([inputs], ScalarType.Float32, Gpu.Device),
            residual = Normal(rows, outputs);
        var gate = gates ? Normal(rows, inputs + 8).narrow(1, 8, inputs) : null;
        var fusion = new FewRowsFusion(gates ? FewRowsNorm.Gated : FewRowsNorm.Plain, scale, 1e-5, gate, residual);
        Tensor Exact(Tensor of) => of.to(ScalarType.Float64);
        var entering = gate is null ? Exact(x) : Exact(x) * nn.functional.silu(Exact(gate));
        var normed = entering / (entering.square().mean([1], true) + 1e-5).sqrt() * Exact(scale);
        var expected = nn.functional.linear(normed, Exact(weight)) + Exact(residual);
        var separate = nn.functional.linear(Exact(normed.to(ScalarType.BFloat16)), Exact(weight)).to(ScalarType.BFloat16) + residual;
        double Error(Tensor of) => (Exact(of) - expected).norm().item<double>() / expected.norm().item<double>();
        Gpu.PoisonFreeBlocks();
        using var poisoned = Gpu.Poisoned();
        var actual = FewRowsLinear.ForwardFused(x, [(weight, null)], false, fusion)![0];
        Assert.InRange(Error(actual), 0, 1.1 * Error(separate) + 1e-5);
        for (int row = 0; row < rows; row += 3)
        {
            var alone = fusion with { Gate = gate?.narrow(0, row, 1), Residual = residual.narrow(0, row, 1) };
            Assert.True(FewRowsLinear.ForwardFused(x.narrow(0, row, 1), [(weight, null)], false, alone)![0][0].equal(actual[row]).all().item<bool>());
        }
        for (int run = 0; run < 50; run++)
            Assert.True(FewRowsLinear.ForwardFused(x, [(weight, null)], false, fusion)![0].equal(actual).all().item<bool>(), $"run {run}");
    }

    /// <summary>The sizes of Mamba-2 in a 1B model. Draft passes have one product for several tokens, with its convolution.</summary>
    [Theory]
    [InlineData(1, 8), InlineData(2, 8), InlineData(4, 2), InlineData(3, 5)]
    public void A_product_with_a_convolution_of_several_tokens_is_one_product_for_each_token(int batch, int length)
    {
        Gpu.IsNeeded();
        using var random = manual_seed(4);
        const int First = 4096, Channels = 4352, Width = 4;
        Tensor x = Normal(batch, length, 2048), weight = Normal(8480, 2048) / 16, state = Normal(batch, Width - 1, Channels),
            filter = randn([Channels, Width], ScalarType.Float32, Gpu.Device), bias = randn([Channels], ScalarType.Float32, Gpu.Device);
        Tensor Product(Tensor rows, FewRowsConvolutionStep step) =>
            FewRowsLinear.ForwardFused(rows, [(weight, null)], false, new(Convolution: step))![0];
        using var poisoned = Gpu.Poisoned();
        var states = new Tensor[length + 1];
        states[0] = state.clone();
        var expected = new Tensor[length];
        for (int token = 0; token < length; token++)
        {
            states[token + 1] = states[token].clone();
            expected[token] = Product(x.narrow(1, token, 1), new(states[token + 1], filter, bias, First, IsSilu: true));
        }
        var after = state.clone();
        var several = CausalConvolution.OverTokens(new(after, filter, bias, First, IsSilu: true), length);
        Assert.True(Product(x, several).equal(cat(expected, 1)).all().item<bool>());
        Assert.True(after.equal(states[length]).all().item<bool>());
        using var replay = CausalConvolution.Replay(several);
        replay.Run(after, ones([batch], ScalarType.Int64, Gpu.Device));
        Assert.True(after.equal(states[1]).all().item<bool>());
    }

    [Fact]
    public void Products_with_a_weight_per_row()
    {
        Gpu.IsNeeded();
        using var random = manual_seed(2);
        Tensor x = Normal(9, 1024), gate = Normal(16, 768, 1024), up = Normal(16, 768, 1024), index = randint(0, 16, [18], ScalarType.Int64,
            Gpu.Device);
        using var poisoned = Gpu.Poisoned();
        var chosen = SelectedLinear.Forward(x, gate, index);
        var numbers = TensorMemory.ToArray<long>(index);
        for (int row = 0; row < 18; row++) Assert.True(FewRowsLinear.Forward(x.narrow(0, row / 2, 1),
            gate[numbers[row]])[0].equal(chosen[row]).all().item<bool>());
        Assert.True(SelectedLinear.ForwardGated(x, gate, up, index).equal(SwiGlu.Forward(chosen, SelectedLinear.Forward(x, up,
            index))).all().item<bool>());
    }
}
