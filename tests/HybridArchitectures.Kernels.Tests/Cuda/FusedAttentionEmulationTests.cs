using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the attention kernels for compute capability 9.0 under emulation. Output and gradients are compared with those of composed bfloat16
/// operators.
/// </summary>
public sealed class FusedAttentionEmulationTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { FusedAttentionBackend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    static Tensor[] Inputs(long batch, long queries, long keys, long heads, long keyHeads, long size, long valueSize) =>
        [OperatorCheck.Normal(batch, queries, heads, size), OperatorCheck.Normal(batch, keys, keyHeads, size),
            OperatorCheck.Normal(batch, keys, keyHeads, valueSize)];

    static void IsAsGoodAsComposed(Tensor[] inputs, double? scale = null, int? window = null, int sinks = 0, AttentionPositions? positions = null) =>
        CudaEmulation.BothOrders(() => AttentionComposed.ErrsAtMostTwice(inputs, scale, window, sinks, positions));

    [Theory]
    [InlineData(64, 64, 70, 70)]
    [InlineData(64, 64, 1, 300)]
    [InlineData(64, 64, 205, 333)]
    [InlineData(72, 128, 130, 130)]
    [InlineData(20, 44, 65, 100)]
    public void Gradients_err_at_most_twice_as_much_as_composed_operators_for_head_sizes_and_lengths(long size, long valueSize, long queries,
        long keys)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        IsAsGoodAsComposed(Inputs(2, queries, keys, 4, 2, size, valueSize), queries == 130 ? 0.3 : null);
    }

    [Theory]
    [InlineData(64, 64, 2)]
    [InlineData(72, 128, 2)]
    [InlineData(8, 120, 2)]
    [InlineData(24, 104, 70)]
    public void Gradients_are_those_of_the_formula_with_its_roundings(long size, long valueSize, long length)
    {
        using var random = manual_seed(5);
        using var emulation = new CudaEmulation();
        AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(Inputs(4, length, length, 6, 2, size, valueSize), null, null, 0);
        AttentionComposed.GradientsAreThoseOfTheFormulaWithItsRoundings(Inputs(1, length, length, 3, 3, size, valueSize), 0.4, 100, 5);
    }

    [Theory]
    [InlineData(3, 0)]
    [InlineData(40, 0)]
    [InlineData(40, 7)]
    [InlineData(130, 70)]
    public void Windows_and_sinks(int window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        IsAsGoodAsComposed(Inputs(1, 400, 400, 2, 1, 64, 64), window: window, sinks: sinks);
        IsAsGoodAsComposed(Inputs(1, 90, 300, 2, 2, 64, 64), window: window, sinks: sinks);
    }

    [Theory]
    [InlineData(null, 0)]
    [InlineData(50, 0)]
    [InlineData(50, 10)]
    public void Packed_documents_and_padded_rows(int? window, int sinks)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        // tiles that hold the ends of several documents, and tiles inside one
        using var packed = SequenceLayout.Packed([[50, 37, 0, 130, 43], [1, 200], [260]], 260);
        IsAsGoodAsComposed(Inputs(3, 260, 260, 2, 1, 64, 64), window: window, sinks: sinks, positions: AttentionPositions.FromLayout(packed));
        using var padded = SequenceLayout.Padded([130, 1, 7], 130);
        IsAsGoodAsComposed(Inputs(3, 130, 130, 2, 1, 64, 64), window: window, sinks: sinks, positions: AttentionPositions.FromLayout(padded));
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
            using var emulation = new CudaEmulation(backwards: size == 80);
            AttentionComposed.ErrsAtMostTwiceCapped(inputs, softcap, sinks > 0 ? 40 : null, sinks);
        }
    }

    [Fact]
    public void Slices_of_wider_tensors_are_read_as_they_are_and_others_are_copied()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var emulation = new CudaEmulation();
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
    public void Unsupported_inputs_are_refused_by_name_if_the_kernels_are_requested()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        Tensor New(long size, ScalarType type = ScalarType.BFloat16) => zeros([1, 3, 2, size], type);
        var rows = zeros([1, 3], ScalarType.Int64);
        void IsRefused(string what, Action action) => Assert.Contains(what, Assert.Throws<ArgumentException>(action).Message,
            StringComparison.Ordinal);
        IsRefused("query is Float32", () => FusedAttention.Forward(New(8, ScalarType.Float32), New(8, ScalarType.Float32),
            New(8, ScalarType.Float32)));
        IsRefused("query has a head size of 264", () => FusedAttention.Forward(New(264), New(264), New(8)));
        IsRefused("value has a head size of 272; expected at most 256", () =>
            FusedAttention.Forward(New(8).requires_grad_(), New(8), New(272)));
        IsRefused("scale is -1", () => FusedAttention.Forward(New(8), New(8), New(8), scale: -1));
        IsRefused("token by token", () => FusedAttention.Forward(New(8), New(8), New(8), positions: new(rows, rows)));
        Assert.Equal(AttentionKernel.Cuda, FusedAttention.KernelFor(New(8), New(8), New(8)));
    }

    [Fact]
    public void A_GPU_without_kernels_is_refused()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(capability: 100);
        var x = zeros([1, 3, 2, 8], ScalarType.BFloat16);
        Assert.Contains("compute capability 10.0", Assert.Throws<ArgumentException>(() => FusedAttention.Forward(x, x, x)).Message,
            StringComparison.Ordinal);
    }
}
