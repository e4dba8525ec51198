using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests attention on a GPU: which kernel libtorch runs, and its results.</summary>
[Trait("device", "cuda")]
public class FusedAttentionDeviceTests
{
    public static TheoryData<int?, int, bool> Cases => new() { { null, 0, false }, { 40, 0, false }, { 40, 4, false }, { null, 0, true },
        { 40, 4, true } };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Scores_are_not_held_whatever_the_window_documents_and_grouping(int? window, int sinks, bool packed)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
        {
            Tensor Normal(long heads) => randn([2, 256, heads, 64], type, Gpu.Device);
            var positions = packed ? Packed(2, 256) : null;
            var kernel = FusedAttention.KernelFor(Normal(8), Normal(2), Normal(2), window: window, sinks: sinks, positions: positions);
            Assert.True(kernel is not (AttentionKernel.Math or AttentionKernel.None), $"{type}: {kernel}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Errors_are_at_most_twice_those_of_composed_operators(int? window, int sinks, bool packed)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var positions = packed ? Packed(2, 100) : null;
        Tensor?[] inputs = [randn([2, 100, 8, 64], ScalarType.Float64, Gpu.Device), randn([2, 100, 2, 64], ScalarType.Float64, Gpu.Device),
            randn([2, 100, 2, 48], ScalarType.Float64, Gpu.Device)];
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
            OperatorCheck.IsAsGoodAsComposed(type, i => FusedAttention.Forward(i[0]!, i[1]!, i[2]!, window: window, sinks: sinks,
                positions: positions),
                i => Plain(i[0]!, i[1]!, i[2]!, AttentionReference.Visible(100, 100, window, sinks, positions, Gpu.Device)),
                i => AttentionReference.Forward(i[0]!, i[1]!, i[2]!, null, window, sinks, positions), inputs);
    }

    // large enough for pieces: 4,200 x 4,200 scores are more than 2^24
    [Theory]
    [InlineData(ScalarType.Float32, 64, 48), InlineData(ScalarType.Float16, 64, 48), InlineData(ScalarType.BFloat16, 192, 128)]
    public void Long_rows_that_libtorch_serves_are_computed_in_pieces(ScalarType type, long size, long valueSize)
    {
        Gpu.IsNeeded();
        using var options = OperatorOptions.Use(new() { FusedAttentionBackend = KernelBackend.LibTorch });
        foreach (var (window, sinks, packed) in new[] { ((int?)300, 4, false), (null, 0, true), (100, 0, true) })
        {
            using var scope = NewDisposeScope();
            using var random = manual_seed(1);
            using var layout = packed ? SequenceLayout.Packed([[1000, 1, 2500, 699]], 4200, Gpu.Device) : null;
            var positions = layout is null ? null : AttentionPositions.FromLayout(layout, Gpu.Device);
            Tensor?[] inputs = [.. Inputs(1, 4200, 4200, 4, 2, size, valueSize)];
            OperatorCheck.IsAsGoodAsComposed(type,
                i => FusedAttention.Forward(i[0]!, i[1]!, i[2]!, window: window, sinks: sinks, positions: positions),
                i => Plain(i[0]!, i[1]!, i[2]!, AttentionReference.Visible(4200, 4200, window, sinks, positions, Gpu.Device)),
                i => AttentionReference.Forward(i[0]!, i[1]!, i[2]!, null, window, sinks, positions), inputs);
        }
    }

    [Fact]
    public void A_window_over_a_very_long_row_needs_no_mask_over_all_scores()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        // a mask would take 69 GB
        const long Length = 1 << 18;
        Tensor New() => randn([1, Length, 1, 16], ScalarType.Float32, Gpu.Device).requires_grad_();
        var (query, key, value) = (New(), New(), New());
        Autograd.Backward(FusedAttention.Forward(query, key, value, window: 512).sum());
        Assert.True(query.grad!.isfinite().all().item<bool>() && key.grad!.isfinite().all().item<bool>());
    }

    [Fact]
    public void Capped_scores_in_float32_and_scores_in_float64_are_computed_part_by_part()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        const long Length = 1 << 13;
        foreach (var (type, cap) in new[] { (ScalarType.Float32, (double?)20), (ScalarType.Float64, null) })
        {
            Tensor New() => randn([1, Length, 1, 16], type, Gpu.Device).requires_grad_();
            var (query, key, value) = (New(), New(), New());
            Assert.Equal(AttentionKernel.Composed, FusedAttention.KernelFor(query, key, value, softcap: cap));
            var output = FusedAttention.Forward(query, key, value, softcap: cap);
            OperatorCheck.Close(AttentionReference.Forward(query.detach(), key.detach(), value.detach(), softcap: cap), output.detach(), 1e-5,
                $"the output in {type}");
            Autograd.Backward(output.sum());
            Assert.True(query.grad!.isfinite().all().item<bool>());
        }
    }

    [Fact]
    public void Plain_causal_attention_of_wide_heads_is_left_to_libtorch_and_masks_are_not()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        Tensor New(long heads) => randn([1, 300, heads, 256], ScalarType.BFloat16, Gpu.Device).requires_grad_();
        var (query, key, value) = (New(4), New(2), New(2));
        Assert.SkipUnless(FusedAttention.BackendFor(query) == KernelBackend.Cuda, "the attention kernels are not for this GPU");
        Assert.NotEqual(AttentionKernel.Cuda, FusedAttention.KernelFor(query, key, value));
        Assert.Equal(AttentionKernel.Cuda, FusedAttention.KernelFor(query, key, value, window: 100));
        Assert.Equal(AttentionKernel.Cuda, FusedAttention.KernelFor(query, key, value, softcap: 30));
        using var noGrad = no_grad();
        Assert.Equal(AttentionKernel.Cuda, FusedAttention.KernelFor(query, key, value));
    }

    static Tensor[] Inputs(long batch, long queries, long keys, long heads, long keyHeads, long size, long valueSize)
    {
        Tensor New(long length, long count, long width) => randn([batch, length, count, width], ScalarType.Float64, Gpu.Device);
        return [New(queries, heads, size), New(keys, keyHeads, size), New(keys, keyHeads, valueSize)];
    }

    // as one would write it, all in the tensors' type; hidden scores are finite, because a query that sees nothing must not give NaN
    static Tensor Plain(Tensor query, Tensor key, Tensor value, Tensor visible)
    {
        const double Hidden = -3e4;
        Tensor Repeated(Tensor x) => x.repeat_interleave(query.size(2) / x.size(2), 2);
        var scores = einsum("blhd,bshd->bhls", query, Repeated(key)) * (1 / Math.Sqrt(query.size(3)));
        return einsum("bhls,bshe->blhe", scores.masked_fill(visible.logical_not().unsqueeze(1), Hidden).softmax(-1),
            Repeated(value));
    }

    static AttentionPositions Packed(long rows, long length)
    {
        Tensor Rows(Func<int, long> of) => tensor([.. Enumerable.Range(0, (int)length).Select(of)], device: Gpu.Device).unsqueeze(0).expand(rows,
            length).contiguous();
        var (documents, places) = (Rows(i => i / 37), Rows(i => i % 37));
        return new(places, places, documents, documents);
    }
}
