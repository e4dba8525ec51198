using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the fusion of branches on a GPU in every form of the kernel. Errors are at most twice those of composed operators of the same dtype, over
/// memory that contained NaN.
/// </summary>
[Trait("device", "cuda")]
public class BranchFusionDeviceTests
{
    static Tensor Normal(params long[] size) => randn(size, ScalarType.Float64, Gpu.Device);

    static Tensor?[] Inputs(int rows, int width, FusionKind kind, bool weighted) =>
        [Normal(rows, width), Normal(rows, width), weighted ? Normal(width) : null, weighted ? Normal(width) : null,
            kind == FusionKind.Gate ? Normal(width) : null];

    static Tensor Run(IReadOnlyList<Tensor?> i, FusionKind kind, int groups, int otherGroups) =>
        BranchFusion.Forward(new(i[0]!, i[2], groups), new(i[1]!, i[3], otherGroups), kind, i[4]);

    static Tensor Reference(IReadOnlyList<Tensor?> i, FusionKind kind, int groups, int otherGroups) =>
        BranchFusionReference.Forward(new(i[0]!, i[2], groups), new(i[1]!, i[3], otherGroups), kind, i[4]);

    static Tensor Normed(Tensor x, Tensor? weight, int groups)
    {
        if (groups > 0)
        {
            var parts = x.unflatten(x.dim() - 1, groups, x.size(-1) / groups);
            x = (parts * (parts.square().mean([-1], true) + 1e-5).rsqrt()).flatten(-2);
        }
        return weight is null ? x : x * weight;
    }

    static Tensor Composed(IReadOnlyList<Tensor?> i, FusionKind kind, int groups, int otherGroups)
    {
        var (first, second) = (Normed(i[0]!, i[2], groups), Normed(i[1]!, i[3], otherGroups));
        if (kind == FusionKind.Concat) return cat([first, second], -1);
        if (kind != FusionKind.Gate) return kind == FusionKind.Add ? first + second : first - second;
        var share = sigmoid(i[4]!);
        return share * first + (1 - share) * second;
    }

    [Theory]
    [InlineData(4099, 4096, 64, 64, FusionKind.Difference, false)]
    [InlineData(4099, 4096, 64, 0, FusionKind.Gate, true)]
    [InlineData(4099, 4096, 1, 1, FusionKind.Gate, true)]
    [InlineData(4099, 1600, 1, 25, FusionKind.Add, true)]
    [InlineData(4099, 1600, 1, 1, FusionKind.Concat, true)]
    [InlineData(999, 4096, 8, 1, FusionKind.Gate, true)]
    [InlineData(300, 16_384, 1, 4, FusionKind.Gate, true)]
    [InlineData(300, 1030, 1, 103, FusionKind.Gate, true)]
    [InlineData(7, 64, 1, 4, FusionKind.Difference, false)]
    public void Fusion(int rows, int width, int groups, int otherGroups, FusionKind kind, bool weighted)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
            OperatorCheck.IsAsGoodAsComposed(type, given =>
            {
                Gpu.PoisonFreeBlocks();
                return Run(given, kind, groups, otherGroups);
            }, i => Composed(i, kind, groups, otherGroups), i => Reference(i, kind, groups, otherGroups), Inputs(rows, width, kind, weighted));
    }

    [Theory]
    [InlineData(4096, 64)]
    [InlineData(4096, 1)]
    [InlineData(1030, 103)]
    public void A_hundred_runs_are_equal_to_the_bit(int width, int groups)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
            PointwiseDeviceTests.Repeats(type, i => Run(i, FusionKind.Gate, groups, groups),
                [.. Inputs(3000, width, FusionKind.Gate, true).Select(input => input!)]);
    }
}
