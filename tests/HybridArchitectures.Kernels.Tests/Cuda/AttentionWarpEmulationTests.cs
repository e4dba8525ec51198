using HybridArchitectures.Kernels.Cuda.Attention;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the attention kernels with products of single warps under emulation, for compute capability 8.0 (much shared memory) and 8.6 (99 KiB).
/// Results are compared with those of composed bfloat16 operators.
/// </summary>
public sealed class AttentionWarpEmulationTests : IDisposable
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

    // sizes of every launch configuration, lengths next to the edges of tiles, and more keys than queries
    [Theory]
    [InlineData(64, 64, 70, 70, 80)]
    [InlineData(64, 64, 130, 333, 80)]
    [InlineData(64, 64, 66, 130, 86)]
    [InlineData(72, 128, 130, 130, 80)]
    [InlineData(72, 128, 66, 130, 86)]
    [InlineData(128, 128, 40, 65, 86)]
    [InlineData(16, 16, 65, 65, 86)]
    [InlineData(20, 44, 2, 100, 80)]
    public void Gradients_err_at_most_twice_as_much_as_composed_operators_for_head_sizes_and_lengths(long size, long valueSize, long queries,
        long keys, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var inputs = Inputs(2, queries, keys, 4, 2, size, valueSize);
        IsAsGoodAsComposed(capability, inputs, queries == 130 ? 0.3 : null);
        if (size <= 64) IsAsGoodAsComposed(capability, inputs, queries == 130 ? 0.3 : null, backwards: true);
    }

    [Theory]
    [InlineData(192, 128, 130, 130, 80)]
    [InlineData(256, 256, 66, 70, 86)]
    [InlineData(8, 250, 40, 129, 86)]
    public void Large_heads_are_served_without_gradients(long size, long valueSize, long queries, long keys, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        using var emulation = new CudaEmulation(capability: capability);
        AttentionComposed.OutputErrsAtMostTwice(Inputs(2, queries, keys, 4, 2, size, valueSize));
    }

    [Theory]
    [InlineData(64, 64, 2)]
    [InlineData(72, 128, 2)]
    [InlineData(24, 104, 70)]
    public void Gradients_are_those_of_the_formula_with_its_roundings(long size, long valueSize, long length)
    {
        using var random = manual_seed(5);
        using var emulation = new CudaEmulation(capability: 80);
        AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(Inputs(4, length, length, 6, 2, size, valueSize), null, null, 0);
        AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(Inputs(1, length, length, 3, 3, size, valueSize), 0.4, 100, 5);
    }

    [Theory]
    [InlineData(3, 0, 80)]
    [InlineData(40, 7, 86)]
    [InlineData(130, 70, 80)]
    public void Windows_and_sinks(int window, int sinks, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        IsAsGoodAsComposed(capability, Inputs(1, 400, 400, 2, 1, 64, 64), window: window, sinks: sinks);
        IsAsGoodAsComposed(capability, Inputs(1, 90, 300, 2, 2, 80, 16), window: window, sinks: sinks, backwards: true);
    }

    [Theory]
    [InlineData(null, 0, 80)]
    [InlineData(50, 0, 86)]
    [InlineData(50, 10, 80)]
    public void Packed_documents_and_padded_rows(int? window, int sinks, int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        // tiles that hold the ends of several documents, and tiles inside one
        using var packed = SequenceLayout.Packed([[50, 37, 0, 130, 43], [1, 200], [260]], 260);
        IsAsGoodAsComposed(capability, Inputs(3, 260, 260, 2, 1, 64, 64), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(packed));
        using var padded = SequenceLayout.Padded([130, 1, 7], 130);
        IsAsGoodAsComposed(capability, Inputs(3, 130, 130, 2, 1, 64, 64), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(padded), backwards: true);
    }

    [Theory]
    [InlineData(2.0, false, 0), InlineData(null, true, 0), InlineData(30.0, true, 5)]
    public void Capped_scores_and_sink_logits(double? softcap, bool logits, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        foreach (var (size, valueSize, length) in new[] { (64L, 64L, 150L), (80, 128, 70) })
        {
            Tensor[] inputs = Inputs(1, length, length, 4, 2, size, valueSize);
            if (logits) inputs = [.. inputs, OperatorCheck.Normal(4)];
            using var emulation = new CudaEmulation(backwards: size == 80, capability: size == 80 ? 86 : 80);
            AttentionComposed.ErrsAtMostTwiceCapped(inputs, softcap, sinks > 0 ? 40 : null, sinks);
        }
    }

    // the probability of a sink logit is the exponential of its difference from the logarithm of the sum of a query; 2^150 overflows
    [Theory]
    [InlineData(80), InlineData(90)]
    public void Gradients_of_large_sink_logits_are_finite(int capability)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(6);
        using var emulation = new CudaEmulation(capability: capability);
        Tensor[] leaves = [.. Inputs(1, 30, 30, 2, 1, 16, 16).Select(x => x.to(ScalarType.BFloat16)), tensor(new[] { 104f, 3 })];
        foreach (var leaf in leaves) leaf.requires_grad_();
        Autograd.Backward(FusedAttention.Forward(leaves[0], leaves[1], leaves[2], sinkLogits: leaves[3]).sum());
        Assert.All(leaves, leaf => Assert.True(leaf.grad!.isfinite().all().item<bool>()));
        Assert.NotEqual(0, leaves[3].grad![1].item<float>());
    }

    [Theory]
    [InlineData(101_376), InlineData(166_912)]
    public void Every_head_size_fits_the_shared_memory_of_the_GPUs(int sharedMemory)
    {
        for (long size = 16; size <= 256; size += 16)
            for (long valueSize = 16; valueSize <= 256; valueSize += 16)
            {
                var forward = AttentionWarpShape.Forward(size, valueSize, true, true, sharedMemory);
                Assert.InRange(forward.ForwardShared, 1, sharedMemory);
                if (AttentionShape.IsWide(size, valueSize))
                {
                    Assert.InRange(AttentionWideShape.Keys(size, valueSize, true, true, sharedMemory).Kernel.SharedMemory, 1, sharedMemory);
                    Assert.InRange(AttentionWideShape.Queries(size, valueSize, true, true, sharedMemory).Kernel.SharedMemory, 1, sharedMemory);
                    continue;
                }
                var backward = AttentionWarpShape.Backward(size, valueSize, true, true, sharedMemory);
                Assert.InRange(Math.Max(backward.KeyGradients.SharedMemory, backward.QueryGradients.SharedMemory), 1, sharedMemory);
            }
    }

    [Fact]
    public void The_form_of_the_output_also_computes_its_gradients()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(7);
        using var emulation = new CudaEmulation();
        var leaves = Inputs(1, 70, 70, 2, 1, 64, 64).Select(x => x.to(ScalarType.BFloat16).requires_grad_()).ToArray();
        Tensor Forward() => FusedAttention.Forward(leaves[0], leaves[1], leaves[2]);
        Tensor[] Gradients(Tensor output)
        {
            foreach (var leaf in leaves) leaf.grad = null;
            Autograd.Backward(output.sum());
            return [.. leaves.Select(leaf => leaf.grad!.clone())];
        }
        Tensor output;
        Tensor[] expected;
        using (OperatorOptions.Use(OperatorOptions.Current with { Thresholds = new() { AttentionGroupCapability = 0 } }))
        {
            expected = Gradients(Forward());
            output = Forward();
        }
        Assert.All(Gradients(output).Zip(expected), pair => Assert.True(pair.First.Equals(pair.Second)));
    }

    [Fact]
    public void Slices_of_wider_tensors_are_read_as_they_are_and_others_are_copied()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var emulation = new CudaEmulation(capability: 80);
        var dense = Inputs(2, 70, 70, 4, 2, 64, 64).Select(x => x.to(ScalarType.BFloat16)).ToArray();
        var expected = FusedAttention.Forward(dense[0], dense[1], dense[2]);
        // heads between others, misaligned heads, and heads before tokens
        var sliced = cat([full_like(dense[0], double.NaN), dense[0], full_like(dense[0], double.NaN)], 2).narrow(2, 4, 4);
        var misaligned = cat([zeros(2, 70, 2, 1, ScalarType.BFloat16), dense[1]], 3).narrow(3, 1, 64);
        var turned = dense[2].transpose(1, 2).contiguous().transpose(1, 2);
        Assert.True(FusedAttention.Forward(sliced, misaligned, turned).Equals(expected));
        Assert.True(FusedAttention.Forward(dense[0].narrow(0, 0, 1).expand(2, 70, 4, 64), dense[1], dense[2]).narrow(0, 0,
            1).Equals(expected.narrow(0, 0, 1)));
    }

    [Fact]
    public void A_GPU_of_compute_capability_9_0_runs_them_if_it_is_told_to()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var inputs = Inputs(1, 70, 70, 2, 1, 64, 64).Select(x => x.to(ScalarType.BFloat16)).ToArray();
        Tensor Run(int capability)
        {
            using var emulation = new CudaEmulation(capability: capability);
            using var warps = OperatorOptions.Use(OperatorOptions.Current with { Thresholds = new() { AttentionGroupCapability = 0 } });
            return FusedAttention.Forward(inputs[0], inputs[1], inputs[2]).clone();
        }
        Assert.True(Run(80).Equals(Run(90)));
    }
}
