using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Runs every kernel once with small odd sizes under a memory checker, which slows a GPU down a hundredfold. Set PYTORCH_NO_CUDA_MEMORY_CACHING=1,
/// so that tensors lie apart.
/// </summary>
[Trait("device", "cuda")]
[Trait("sanitizer", "small")]
public class SanitizerDeviceTests
{
    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Scans_and_convolution(ScalarType type)
    {
        Gpu.IsNeeded();
        foreach (var op in new SequenceOperator[] { new CausalConvolutionOperator(), new SelectiveScanOperator(), new StateSpaceDualOperator(),
            new GatedDeltaRuleOperator(), new ChannelDeltaRuleOperator(), new LinearAttentionOperator() })
        {
            foreach (long length in new[] { 1, 65, 130 })
                for (int variant = 0; variant < 3; variant++) Run(op, op.Inputs(2, length, variant), null);
            using var layout = SequenceLayout.Packed([[1, 63, 0, 40], [], [7, 64]], 110, Gpu.Device);
            Run(op, op.Inputs(3, 110), layout);
            // head sizes that have kernels
            if (op is DeltaRuleOperator) Run(op, op.Inputs(3, 110, 4), layout);
            // whole pieces of few channels
            if (op is SelectiveScanOperator) Run(op, SelectiveScanOperator.Inputs(3, 110, 48, 2, 8), layout);
        }

        void Run(SequenceOperator op, Dictionary<string, Tensor> inputs, SequenceLayout? layout)
        {
            using var scope = NewDisposeScope();
            var leaves = op.Leaves(inputs, type, device: Gpu.Device);
            var (output, final) = op.Forward(leaves, layout);
            Autograd.Backward(output.to(ScalarType.Float32).sum().add(final.to(ScalarType.Float32).sum(), Scalars.One));
            Assert.All(leaves, leaf => Assert.True(leaf.Value.grad!.isfinite().all().item<bool>(), leaf.Key));
            using var noGrad = no_grad();
            var one = new Dictionary<string, Tensor>(leaves);
            foreach (var name in op.Timed) one[name] = leaves[name].detach().select(1, 0);
            Assert.True(op.Step(leaves["initialState"].detach().clone(), one).isfinite().all().item<bool>());
        }
    }

    // by four warps together where the GPU has such products, and by single warps
    [Theory]
    [InlineData(90), InlineData(0)]
    public void Attention(int groupCapability)
    {
        Gpu.IsNeeded();
        var thresholds = new LaunchThresholds { AttentionGroupCapability = groupCapability, MaxPlainAttentionGradientSize = 256 };
        using var options = OperatorOptions.Use(new() { Thresholds = thresholds });
        using var layout = SequenceLayout.Packed([[1, 63, 0, 40], [], [7, 64]], 110, Gpu.Device);
        foreach (var (size, valueSize) in new[] { (64, 64), (72, 128), (20, 100), (256, 256), (144, 208) })
        {
            using var scope = NewDisposeScope();
            Tensor New(long heads, long width) => randn([3, 110, heads, width], ScalarType.BFloat16, Gpu.Device).requires_grad_();
            foreach (var positions in new[] { null, AttentionPositions.FromLayout(layout, Gpu.Device) })
                foreach (var (window, sinks) in new[] { ((int?)null, 0), (30, 4) })
                {
                    var output = FusedAttention.Forward(
                        New(4, size), New(2, size), New(2, valueSize), window: window, sinks: sinks, positions: positions);
                    Autograd.Backward(output.to(ScalarType.Float32).sum());
                    Assert.True(output.isfinite().all().item<bool>());
                }
        }
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Decoding(ScalarType type)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        foreach (var one in AttentionDecodeChecks.Small())
            Assert.False(AttentionDecodeChecks.Decode(one, AttentionDecodeChecks.Random(one, Gpu.Device), type).isnan().any().item<bool>(), $"{one}");
    }

    [Theory]
    [InlineData(1, 37, 264), InlineData(9, 48, 1096), InlineData(16, 5, 8192)]
    public void Products_of_decoding(int rows, int outputs, int inputs)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        static Tensor New(params long[] size) => randn(size, ScalarType.BFloat16, Gpu.Device);
        static void IsFinite(Tensor result) => Assert.True(result.isfinite().all().item<bool>());
        Tensor x = New(rows, inputs), weight = New(outputs, inputs), scale = randn([inputs], ScalarType.Float32, Gpu.Device);
        IsFinite(FewRowsLinear.Forward(x, weight, randn([outputs], ScalarType.Float32, Gpu.Device)));
        IsFinite(FewRowsLinear.ForwardGated(x, (weight, null), (weight, null)));
        IsFinite(SelectedLinear.Forward(x, New(3, outputs, inputs), randint(0, 3, [2 * rows], ScalarType.Int64, Gpu.Device)));
        Tensor ids = zeros([rows, 1], ScalarType.Int64, Gpu.Device), tokens = zeros([2, rows], ScalarType.Int64, Gpu.Device);
        GreedyTokens.Select(randn([rows, inputs], ScalarType.Float32, Gpu.Device), ids, tokens);
        Assert.Equal(rows, tokens[1].sum().item<long>());
        var (chosen, weights) = ExpertRoutingCuda.Route(x, randn([9, inputs], ScalarType.Float32, Gpu.Device), null, 2, true, true, 1);
        IsFinite(ExpertRoutingCuda.Mix(New(2 * rows, 40), weights, New(rows, 40), 2));
        Assert.InRange(chosen.max().item<long>(), 0, 8);
        var visits = ExpertVisits.Sort(chosen, 9);
        Assert.Equal(2 * rows, visits.Ends[8].item<int>());
        IsFinite(visits.Rows.Combine(visits.Rows.Spread(x, weights), weights));
        if (inputs > 2000) return;
        var gated = new FewRowsFusion(FewRowsNorm.Gated, scale, 1e-5, New(rows, inputs), New(rows, outputs));
        IsFinite(FewRowsLinear.ForwardFused(x, [(weight, null)], false, gated)![0]);
        var convolution = new FewRowsConvolutionStep(New(rows, 3, 3), randn([3, 4], ScalarType.Float32, Gpu.Device), null, 1, true);
        IsFinite(FewRowsLinear.ForwardFused(x, [(weight, null)], false, new(FewRowsNorm.Plain, scale, 1e-5, Convolution: convolution))![0]);
        Tensor Table() => randn([7, 8], ScalarType.Float32, Gpu.Device);
        var cache = new CacheTarget((Table(), Table()), full([rows], Scalars.From(3L), ScalarType.Int32, Gpu.Device), New(rows, 5, 1, 16),
            New(rows, 5, 1, 24));
        IsFinite(FewRowsLinear.ForwardFused(x, [(New(32, inputs), null), (New(16, inputs), null), (New(24, inputs), null)], false,
            new(FewRowsNorm.Plain, scale, 1e-5, Cache: cache))![0]);
        IsFinite(cache.Keys);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Norms_activations_and_loss(ScalarType type)
    {
        Gpu.IsNeeded();
        foreach (var (rows, width) in new[] { (3, 7), (5, 64), (2, 1230), (33, 2048) })
        {
            using var scope = NewDisposeScope();
            Tensor Normal(params long[] size) => randn(size, type, Gpu.Device).requires_grad_();
            Watch(RmsNorm.Forward(Normal(rows, width), Normal(width)));
            Watch(GatedRmsNorm.Forward(Normal(rows, width), Normal(rows, width), Normal(width)));
            Watch(RmsNorm.ForwardSum(Normal(rows, width), Normal(rows, width), Normal(width)).Output);
            Watch(SwiGlu.Forward(Normal(rows, width), Normal(rows, width)));
            Watch(LinearCrossEntropy.Forward(
                Normal(rows, 8), Normal(width, 8), randint(0, width, [rows], ScalarType.Int64, Gpu.Device), labelSmoothing: 0.1, zLoss: 1e-4));
            var (cosine, sine) = (rand([1, rows, 4], ScalarType.Float32, Gpu.Device), rand([1, rows, 4], ScalarType.Float32, Gpu.Device));
            Watch(Rotary.Forward(Normal(2, rows, 3, 11), cosine, sine));
        }

        static void Watch(Tensor output)
        {
            Autograd.Backward(output.to(ScalarType.Float32).sum());
            Assert.True(output.isfinite().all().item<bool>());
        }
    }
}
