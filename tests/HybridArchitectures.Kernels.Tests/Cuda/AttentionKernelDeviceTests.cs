using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests this library's attention kernels on a GPU, in one of their two forms.</summary>
public abstract class AttentionKernelDeviceTests : IDisposable
{
    readonly IDisposable options;

    /// <summary>
    /// Selects the kernels as for a GPU on which <paramref name="groupCapability"/> has products of four warps, also for what is left to libtorch.
    /// </summary>
    protected AttentionKernelDeviceTests(int groupCapability, int sharedMemory = int.MaxValue) => options = OperatorOptions.Use(new()
    {
        Thresholds = new()
        {
            AttentionGroupCapability = groupCapability, AttentionSharedMemory = sharedMemory, MaxPlainAttentionGradientSize = 256,
        },
    });

    public void Dispose()
    {
        options.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Skips the test where the kernels do not run.</summary>
    protected abstract void IsNeeded();

    static Tensor[] Inputs(long batch, long queries, long keys, long heads, long keyHeads, long size, long valueSize)
    {
        Tensor New(long length, long count, long width) => randn([batch, length, count, width], ScalarType.Float64, Gpu.Device);
        return [New(queries, heads, size), New(keys, keyHeads, size), New(keys, keyHeads, valueSize)];
    }

    static void IsAsGoodAsComposed(Tensor[] inputs, double? scale = null, int? window = null, int sinks = 0, AttentionPositions? positions = null)
    {
        var narrow = inputs.Select(x => x.to(ScalarType.BFloat16).requires_grad_()).ToArray();
        Assert.Equal(AttentionKernel.Cuda, FusedAttention.KernelFor(narrow[0], narrow[1], narrow[2], scale, window, sinks, positions));
        using var poisoned = Gpu.Poisoned();
        AttentionComposed.ErrsAtMostTwice(inputs, scale, window, sinks, positions);
    }

    [Theory]
    [InlineData(64, 64), InlineData(128, 128), InlineData(72, 128), InlineData(48, 96), InlineData(96, 96), InlineData(16, 16), InlineData(128, 64),
        InlineData(20, 100), InlineData(8, 120), InlineData(256, 256), InlineData(192, 128), InlineData(144, 208), InlineData(16, 250)]
    public void Errors_are_at_most_twice_those_of_composed_operators_for_all_head_sizes(long size, long valueSize)
    {
        IsNeeded();
        using var random = manual_seed(1);
        foreach (var (queries, keys) in new[] { (2L, 2L), (65, 65), (128, 128), (333, 333), (777, 777), (3, 1000), (200, 1025) })
        {
            using var scope = NewDisposeScope();
            // where few probabilities meet, two errors of a few numbers would be compared: their ratio is a matter of luck
            long rows = keys < 10 ? 64 : 1;
            IsAsGoodAsComposed(Inputs(2 * rows, queries, keys, 8, 2, size, valueSize), queries == 333 ? 0.4 : null);
            IsAsGoodAsComposed(Inputs(rows, queries, keys, 3, 3, size, valueSize), window: 100, sinks: 5);
            IsAsGoodAsComposed(Inputs(rows, queries, keys, 6, 1, size, valueSize), window: 200);
        }
    }

    [Theory]
    [InlineData(64, 64), InlineData(128, 128), InlineData(72, 128), InlineData(48, 96), InlineData(16, 16), InlineData(128, 64), InlineData(24, 104),
        InlineData(8, 120), InlineData(256, 256), InlineData(192, 128), InlineData(208, 144), InlineData(16, 256)]
    public void Gradients_are_those_of_the_formula_with_its_roundings(long size, long valueSize)
    {
        IsNeeded();
        foreach (var (queries, keys) in new[] { (2L, 2L), (65, 65), (333, 333), (3, 1000), (200, 1025) })
        {
            using var scope = NewDisposeScope();
            long rows = keys < 10 ? 64 : 1;
            Tensor[] New(long heads, long keyHeads) => Inputs(rows, queries, keys, heads, keyHeads, size, valueSize);
            AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(New(8, 2), null, null, 0);
            AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(New(3, 3), null, 100, 5);
            AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(New(6, 1), 0.4, 200, 0);
        }
    }

    [Theory]
    [InlineData(2.0, false, 0), InlineData(50.0, false, 0), InlineData(null, true, 0), InlineData(30.0, true, 5)]
    public void Capped_scores_and_sink_logits(double? softcap, bool logits, int sinks)
    {
        IsNeeded();
        foreach (var (size, valueSize, length) in new[] { (64L, 64L, 333L), (128, 128, 200), (80, 128, 777), (16, 16, 1025), (256, 256, 333),
            (192, 128, 200) })
        {
            using var scope = NewDisposeScope();
            Tensor[] inputs = Inputs(2, length, length, 8, 2, size, valueSize);
            if (logits) inputs = [.. inputs, randn([8], ScalarType.Float64, Gpu.Device)];
            using var poisoned = Gpu.Poisoned();
            AttentionComposed.ErrsAtMostTwiceCapped(inputs, softcap, sinks > 0 ? 40 : null, sinks);
        }
    }

    [Theory]
    [InlineData(192, 128), InlineData(256, 256), InlineData(16, 256), InlineData(160, 136)]
    public void Large_heads_are_served_without_gradients(long size, long valueSize)
    {
        IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        using var noGrad = no_grad();
        foreach (var (queries, keys) in new[] { (130L, 130L), (77, 900) })
        {
            var inputs = Inputs(2, queries, keys, 4, 2, size, valueSize).Select(x => x.to(ScalarType.BFloat16)).ToArray();
            Assert.Equal(AttentionKernel.Cuda, FusedAttention.KernelFor(inputs[0], inputs[1], inputs[2]));
            var visible = AttentionReference.Visible(queries, keys, null, 0, null, Gpu.Device);
            OperatorCheck.ErrsAtMostTwice("the output", FusedAttention.Forward(inputs[0], inputs[1], inputs[2]),
                AttentionComposed.Forward(inputs[0], inputs[1], inputs[2], null, visible),
                AttentionReference.Forward(inputs[0].to(ScalarType.Float64), inputs[1].to(ScalarType.Float64), inputs[2].to(ScalarType.Float64)));
        }
    }

    [Theory]
    [InlineData(null, 0, 64), InlineData(100, 0, 64), InlineData(100, 30, 64), InlineData(null, 0, 128), InlineData(300, 10, 72),
        InlineData(null, 0, 256), InlineData(100, 30, 192)]
    public void They_skip_what_documents_and_padding_exclude(int? window, int sinks, long size)
    {
        IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        using var packed = SequenceLayout.Packed([[1000, 37, 0, 200, 811], [1, 0, 1747], [2048], []], 2048, Gpu.Device);
        IsAsGoodAsComposed(Inputs(4, 2048, 2048, 4, 2, size, 64), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(packed, Gpu.Device));
        using var padded = SequenceLayout.Padded([700, 1, 64, 0], 700, Gpu.Device);
        IsAsGoodAsComposed(Inputs(4, 700, 700, 4, 2, size, 64), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(padded, Gpu.Device));
    }

    [Theory]
    [InlineData(64, 64, 4096, 20), InlineData(128, 128, 2048, 20), InlineData(72, 128, 777, 200), InlineData(20, 100, 777, 200),
        InlineData(8, 120, 777, 200), InlineData(48, 96, 333, 200), InlineData(128, 64, 200, 200), InlineData(72, 128, 2, 200),
        InlineData(256, 256, 2048, 20), InlineData(192, 128, 777, 200), InlineData(208, 144, 333, 200)]
    public void All_runs_are_equal_to_the_bit(long size, long valueSize, long length, int runs)
    {
        IsNeeded();
        foreach (var (window, sinks) in new[] { ((int?)null, 0), (100, 5) })
        {
            using var scope = NewDisposeScope();
            var leaves = Inputs(2, length, length, 8, 2, size, valueSize).Select(x => x.to(ScalarType.BFloat16).requires_grad_()).ToArray();
            var direction = randn([2, length, 8, valueSize], ScalarType.BFloat16, Gpu.Device);
            Tensor[]? first = null;
            for (int run = 0; run < runs; run++)
            {
                using var inner = NewDisposeScope();
                foreach (var leaf in leaves) leaf.grad = null;
                var output = FusedAttention.Forward(leaves[0], leaves[1], leaves[2], window: window, sinks: sinks);
                Autograd.Backward(output, direction);
                Tensor[] results = [output.detach(), .. leaves.Select(leaf => leaf.grad!.clone())];
                if (first is null) first = [.. results.Select(x => x.clone().MoveToOuterDisposeScope())];
                else Assert.All(results.Zip(first), pair => Assert.True(pair.First.Equals(pair.Second), $"run {run}, window {window}"));
            }
        }
    }

    [Fact]
    public void A_row_of_a_million_tokens_and_tensors_past_the_2_to_the_31st_element()
    {
        IsNeeded();
        using var random = manual_seed(5);
        using (NewDisposeScope())
        {
            // queries of the last 2,000 tokens see none before the last 3,000
            const long Length = 1 << 20, Last = 3000, Seen = 2000;
            EndEqualsItselfAlone([1, Length, 4, 64], [1, Length, 2, 64], 1, Length - Last, Last, Seen, 500);
        }
        using (NewDisposeScope()) EndEqualsItselfAlone([257, 2051, 64, 64], [257, 2051, 16, 64], 0, 255, 2, 2, null);
    }

    [Fact]
    public void Wide_heads_in_a_row_of_a_million_tokens_and_in_tensors_past_the_2_to_the_31st_element()
    {
        IsNeeded();
        using var random = manual_seed(6);
        using (NewDisposeScope())
        {
            const long Length = 1 << 20, Last = 3000, Seen = 2000;
            EndEqualsItselfAlone([1, Length, 2, 192], [1, Length, 1, 192], 1, Length - Last, Last, Seen, 500);
        }
        using (NewDisposeScope()) EndEqualsItselfAlone([65, 2051, 64, 256], [65, 2051, 16, 256], 0, 63, 2, 2, 300);
    }

    // the last part along a dimension against a call over that part alone
    static void EndEqualsItselfAlone(long[] querySize, long[] keySize, int dimension, long start, long count, long compared, int? window)
    {
        Tensor New(long[] size) => randn(size, ScalarType.BFloat16, Gpu.Device).requires_grad_();
        Tensor[] whole = [New(querySize), New(keySize), New(keySize)];
        Tensor[] part = [.. whole.Select(x => x.detach().narrow(dimension, start, count).clone().requires_grad_())];
        var direction = randn(querySize, ScalarType.BFloat16, Gpu.Device);
        var (output, own) = (FusedAttention.Forward(whole[0], whole[1], whole[2], window: window),
            FusedAttention.Forward(part[0], part[1], part[2], window: window));
        Autograd.Backward(output, direction);
        Autograd.Backward(own, direction.narrow(dimension, start, count).clone());
        Tensor End(Tensor x) => x.narrow(dimension, x.size(dimension) - compared, compared);
        OperatorCheck.Close(End(own.detach()), End(output.detach()), 8e-3, "the output");
        for (int i = 0; i < 3; i++) OperatorCheck.Close(End(part[i].grad!), End(whole[i].grad!), 8e-3, $"the gradient of input {i}");
    }
}
