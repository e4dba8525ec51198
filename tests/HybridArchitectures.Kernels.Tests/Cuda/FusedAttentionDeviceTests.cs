using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Attention on a card: what libtorch runs, and that it is right.</summary>
[Trait("device", "cuda")]
public class FusedAttentionDeviceTests
{
    public static TheoryData<int?, int, bool> Cases => new() { { null, 0, false }, { 40, 0, false }, { 40, 4, false }, { null, 0, true }, { 40, 4, true } };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Scores_are_not_held_whatever_the_window_documents_and_grouping(int? window, int sinks, bool packed)
    {
        Card.IsNeeded();
        using var scope = NewDisposeScope();
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
        {
            Tensor Normal(long heads) => randn([2, 256, heads, 64], type, Card.Device);
            var positions = packed ? Packed(2, 256) : null;
            var kernel = FusedAttention.KernelFor(Normal(8), Normal(2), Normal(2), window: window, sinks: sinks, positions: positions);
            Assert.True(kernel is not (AttentionKernel.Math or AttentionKernel.None), $"{type}: {kernel}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Errors_are_at_most_twice_those_of_composed_operators(int? window, int sinks, bool packed)
    {
        Card.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var positions = packed ? Packed(2, 100) : null;
        Tensor?[] inputs = [randn([2, 100, 8, 64], ScalarType.Float64, Card.Device), randn([2, 100, 2, 64], ScalarType.Float64, Card.Device), randn([2, 100, 2, 48], ScalarType.Float64, Card.Device)];
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
            OperatorCheck.IsAsGoodAsComposed(type, i => FusedAttention.Forward(i[0]!, i[1]!, i[2]!, window: window, sinks: sinks, positions: positions),
                i => Plain(i[0]!, i[1]!, i[2]!, AttentionReference.Visible(100, 100, window, sinks, positions, Card.Device)),
                i => AttentionReference.Forward(i[0]!, i[1]!, i[2]!, null, window, sinks, positions), inputs);
    }

    // as one would write it, all in the tensors' type
    static Tensor Plain(Tensor query, Tensor key, Tensor value, Tensor visible)
    {
        Tensor Repeated(Tensor x) => x.repeat_interleave(query.size(2) / x.size(2), 2);
        var scores = einsum("blhd,bshd->bhls", query, Repeated(key)) * (1 / Math.Sqrt(query.size(3)));
        return einsum("bhls,bshe->blhe", scores.masked_fill(visible.logical_not().unsqueeze(1), double.NegativeInfinity).softmax(-1), Repeated(value));
    }

    static AttentionPositions Packed(long rows, long length)
    {
        Tensor Rows(Func<int, long> of) => tensor([.. Enumerable.Range(0, (int)length).Select(of)], device: Card.Device).unsqueeze(0).expand(rows, length).contiguous();
        var (documents, places) = (Rows(i => i / 37), Rows(i => i % 37));
        return new(places, places, documents, documents);
    }
}
