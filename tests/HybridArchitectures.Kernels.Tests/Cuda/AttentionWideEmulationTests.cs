using HybridArchitectures.Kernels.Cuda.Attention;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the kernels for gradients of attention with heads of over 128 elements under emulation, for compute capability 9.0, 8.0 and 8.6. They have
/// 227, 163 and 99 KiB of shared memory, and each has other tile sizes.
/// </summary>
public sealed class AttentionWideEmulationTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { FusedAttentionBackend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    static Tensor[] Inputs(long batch, long queries, long keys, long heads, long keyHeads, long size, long valueSize) =>
        [OperatorCheck.Normal(batch, queries, heads, size), OperatorCheck.Normal(batch, keys, keyHeads, size),
            OperatorCheck.Normal(batch, keys, keyHeads, valueSize)];

    static void IsAsGoodAsComposed(int capability, Tensor[] inputs, double? scale = null, int? window = null, int sinks = 0,
        AttentionPositions? positions = null, bool backwards = false)
    {
        using var emulation = new CudaEmulation(backwards, capability);
        AttentionComposed.ErrsAtMostTwice(inputs, scale, window, sinks, positions);
    }

    // equal sizes, either side the larger one, quarters of columns with and without remainder, lengths next to the edges of tiles, more keys than
    // queries, and heads that are padded to 8
    [Theory]
    [InlineData(256, 256, 70, 70, 90)]
    [InlineData(256, 256, 66, 130, 80)]
    [InlineData(256, 256, 33, 65, 86)]
    [InlineData(192, 128, 130, 130, 90)]
    [InlineData(192, 128, 129, 193, 80)]
    [InlineData(192, 128, 40, 65, 86)]
    [InlineData(144, 208, 65, 65, 90)]
    [InlineData(16, 256, 64, 128, 80)]
    [InlineData(250, 20, 63, 63, 86)]
    [InlineData(129, 131, 17, 100, 86)]
    public void Gradients_err_at_most_twice_as_much_as_composed_operators_for_head_sizes_and_lengths(long size, long valueSize, long queries,
        long keys, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        IsAsGoodAsComposed(capability, Inputs(2, queries, keys, 4, 2, size, valueSize), size == 192 ? 0.1 : null, backwards: valueSize == 256);
    }

    [Theory]
    [InlineData(256, 256, 2, 90)]
    [InlineData(192, 128, 70, 80)]
    [InlineData(72, 136, 40, 86)]
    public void Gradients_are_those_of_the_formula_with_its_roundings(long size, long valueSize, long length, int capability)
    {
        using var random = manual_seed(5);
        using var emulation = new CudaEmulation(capability: capability);
        AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(Inputs(2, length, length, 6, 2, size, valueSize), null, null, 0);
        AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(Inputs(1, length, length, 3, 3, size, valueSize), 0.1, 100, 5);
    }

    [Theory]
    [InlineData(3, 0, 256, 256, 90)]
    [InlineData(40, 7, 192, 128, 80)]
    [InlineData(40, 7, 256, 256, 86)]
    [InlineData(130, 70, 144, 160, 90)]
    public void Windows_and_sinks(int window, int sinks, long size, long valueSize, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        IsAsGoodAsComposed(capability, Inputs(1, 300, 300, 2, 1, size, valueSize), window: window, sinks: sinks);
        IsAsGoodAsComposed(capability, Inputs(1, 60, 250, 2, 2, size, valueSize), window: window, sinks: sinks, backwards: true);
    }

    [Theory]
    [InlineData(null, 0, 80)]
    [InlineData(50, 0, 86)]
    [InlineData(50, 10, 90)]
    public void Packed_documents_and_padded_rows(int? window, int sinks, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        // tiles that hold the ends of several documents, and tiles inside one
        using var packed = SequenceLayout.Packed([[50, 37, 0, 130, 43], [1, 200], [260]], 260);
        IsAsGoodAsComposed(capability, Inputs(3, 260, 260, 2, 1, 136, 160), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(packed));
        using var padded = SequenceLayout.Padded([130, 1, 7], 130);
        IsAsGoodAsComposed(capability, Inputs(3, 130, 130, 2, 1, 256, 64), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(padded), backwards: true);
    }

    [Theory]
    [InlineData(2.0, false, 0, 90), InlineData(null, true, 0, 80), InlineData(30.0, true, 5, 86)]
    public void Capped_scores_and_sink_logits(double? softcap, bool logits, int sinks, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        Tensor[] inputs = Inputs(1, 100, 100, 4, 2, 192, 144);
        if (logits) inputs = [.. inputs, OperatorCheck.Normal(4)];
        using var emulation = new CudaEmulation(capability: capability);
        AttentionComposed.ErrsAtMostTwiceCapped(inputs, softcap, sinks > 0 ? 40 : null, sinks);
    }

    [Theory]
    [InlineData(256, 256, 90), InlineData(192, 128, 80), InlineData(256, 256, 86)]
    public void Gradients_do_not_depend_on_the_order_of_the_threads(long size, long valueSize, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(7);
        var leaves = Inputs(1, 150, 150, 2, 1, size, valueSize).Select(x => x.to(ScalarType.BFloat16).requires_grad_()).ToArray();
        Tensor[] Gradients(bool backwards)
        {
            using var emulation = new CudaEmulation(backwards, capability);
            foreach (var leaf in leaves) leaf.grad = null;
            Autograd.Backward(FusedAttention.Forward(leaves[0], leaves[1], leaves[2], window: 100, sinks: 3).sum());
            return [.. leaves.Select(leaf => leaf.grad!.clone())];
        }
        Assert.All(Gradients(false).Zip(Gradients(true)), pair => Assert.True(pair.First.Equals(pair.Second)));
    }

    [Fact]
    public void Gradients_are_the_same_for_slices_of_wider_tensors()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var emulation = new CudaEmulation(capability: 80);
        var dense = Inputs(2, 70, 70, 4, 2, 192, 128).Select(x => x.to(ScalarType.BFloat16)).ToArray();
        var wide = cat([full_like(dense[0], double.NaN), dense[0], full_like(dense[0], double.NaN)], 2);
        Tensor[] Gradients(Tensor query)
        {
            Tensor[] leaves = [query.detach().requires_grad_(), .. dense[1..].Select(x => x.detach().clone().requires_grad_())];
            Autograd.Backward(FusedAttention.Forward(leaves[0], leaves[1], leaves[2], window: 30).sum());
            return [.. leaves.Select(leaf => leaf.grad!)];
        }
        Assert.All(Gradients(dense[0]).Zip(Gradients(wide.narrow(2, 4, 4))), pair => Assert.True(pair.First.Equals(pair.Second)));
    }

    [Fact]
    public void A_GPU_with_much_shared_memory_runs_what_one_with_less_runs_if_it_is_told_to()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(8);
        var leaves = Inputs(1, 70, 70, 2, 1, 144, 136).Select(x => x.to(ScalarType.BFloat16).requires_grad_()).ToArray();
        Tensor[] Gradients(int capability, int sharedMemory)
        {
            using var emulation = new CudaEmulation(capability: capability);
            var thresholds = new LaunchThresholds { AttentionGroupCapability = 0, AttentionSharedMemory = sharedMemory };
            using var limited = OperatorOptions.Use(OperatorOptions.Current with { Thresholds = thresholds });
            foreach (var leaf in leaves) leaf.grad = null;
            Autograd.Backward(FusedAttention.Forward(leaves[0], leaves[1], leaves[2]).sum());
            return [.. leaves.Select(leaf => leaf.grad!.clone())];
        }
        Assert.All(Gradients(86, int.MaxValue).Zip(Gradients(90, 101_376)), pair => Assert.True(pair.First.Equals(pair.Second)));
    }

    [Fact]
    public void Without_a_choice_of_kernels_only_plain_causal_attention_with_gradients_is_left_to_libtorch()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        // queries in main memory are for libtorch unless the kernels are chosen
        using var layout = SequenceLayout.Packed([[5, 3]], 8);
        var positions = AttentionPositions.FromLayout(layout);
        Tensor New(long length, long heads, long size) => zeros([1, length, heads, size], ScalarType.BFloat16).requires_grad_();
        bool IsLeft(long size, long valueSize, int? window = null, AttentionPositions? given = null, double? softcap = null, bool logits = false,
            long queries = 8)
        {
            var inputs = new AttentionInputs(New(queries, 2, size), New(8, 1, size), New(8, 1, valueSize))
            {
                Scale = 1, Window = window, Positions = given, Softcap = softcap, SinkLogits = logits ? zeros(2) : null,
            };
            return FusedAttention.IsLeftToLibTorch(inputs);
        }
        Assert.True(IsLeft(256, 256));
        Assert.True(IsLeft(192, 128));
        Assert.True(IsLeft(16, 136, window: 8));
        Assert.False(IsLeft(128, 128));
        Assert.False(IsLeft(256, 256, window: 7));
        Assert.False(IsLeft(256, 256, given: positions));
        Assert.False(IsLeft(256, 256, softcap: 30));
        Assert.False(IsLeft(256, 256, logits: true));
        Assert.False(IsLeft(256, 256, queries: 7));
        using (no_grad()) Assert.False(IsLeft(256, 256));
        using (OperatorOptions.Use(OperatorOptions.Current with { Thresholds = new() { MaxPlainAttentionGradientSize = 256 } }))
            Assert.False(IsLeft(256, 256));
    }
}
