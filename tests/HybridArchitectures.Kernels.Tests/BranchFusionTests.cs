using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class BranchFusionTests
{
    // first, second, first's weight, second's weight, gate
    static Tensor?[] Inputs(int rows, int width, FusionKind kind, bool weighted)
    {
        int other = kind == FusionKind.Concat ? width + 8 : width;
        return [OperatorCheck.Normal(rows, 2, width), OperatorCheck.Normal(rows, 2, other), weighted ? OperatorCheck.Normal(width) : null,
            weighted ? OperatorCheck.Normal(other) : null, kind == FusionKind.Gate ? OperatorCheck.Normal(width) : null];
    }

    static Tensor Run(IReadOnlyList<Tensor?> i, FusionKind kind, int groups, int otherGroups) =>
        BranchFusion.Forward(new(i[0]!, i[2], groups), new(i[1]!, i[3], otherGroups), kind, i[4]);

    static Tensor Reference(IReadOnlyList<Tensor?> i, FusionKind kind, int groups, int otherGroups) =>
        BranchFusionReference.Forward(new(i[0]!, i[2], groups), new(i[1]!, i[3], otherGroups), kind, i[4]);

    public static TheoryData<FusionKind, int, int, int, bool> Cases => new()
    {
        { FusionKind.Add, 24, 1, 1, true },
        { FusionKind.Difference, 24, 3, 6, false },
        { FusionKind.Gate, 64, 4, 2, true },
        { FusionKind.Concat, 32, 4, 5, true },
        { FusionKind.Gate, 7, 7, 0, true },
        { FusionKind.Concat, 5, 0, 1, false },
        { FusionKind.Difference, 10, 0, 0, true },
        { FusionKind.Gate, 96, 2, 1, true },
        { FusionKind.Add, 1040, 1, 0, true },
        { FusionKind.Concat, 1040, 1, 1, true },
        { FusionKind.Gate, 2056, 1, 257, true },
        { FusionKind.Gate, 1031, 1, 0, true },
        { FusionKind.Gate, 4104, 1, 513, true },       // more than a block holds in registers
        { FusionKind.Difference, 4104, 0, 3, true },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void On_the_CPU_results_and_gradients_match_the_reference(FusionKind kind, int width, int groups, int otherGroups, bool weighted)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        OperatorCheck.MatchesReference(
            i => Run(i, kind, groups, otherGroups), i => Reference(i, kind, groups, otherGroups), Inputs(3, width, kind, weighted));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_CUDA_kernel_matches_the_reference(FusionKind kind, int width, int groups, int otherGroups, bool weighted)
    {
        using var options = OperatorOptions.Use(new() { BranchFusionBackend = KernelBackend.Cuda });
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var inputs = Inputs(width > 1000 ? 1 : 3, width, kind, weighted);
        CudaEmulation.BothOrders(() =>
            OperatorCheck.MatchesReference(i => Run(i, kind, groups, otherGroups), i => Reference(i, kind, groups, otherGroups), inputs));
    }

    [Theory]
    [InlineData(52, 4096, 64)]
    [InlineData(70, 4096, 1)]
    [InlineData(70, 4096, 8)]
    [InlineData(70, 1001, 7)]
    public void The_CUDA_kernel_takes_several_rows_a_block(int rows, int width, int groups)
    {
        using var options = OperatorOptions.Use(new() { BranchFusionBackend = KernelBackend.Cuda });
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        var inputs = Inputs(rows, width, FusionKind.Gate, true);
        using var emulation = new CudaEmulation();
        OperatorCheck.MatchesReference(
            i => Run(i, FusionKind.Gate, groups, groups), i => Reference(i, FusionKind.Gate, groups, groups), inputs);
    }

    [Fact]
    public void BFloat16_is_as_good_as_composed_operators()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var inputs = Inputs(5, 64, FusionKind.Difference, true);
        static Tensor Norm(Tensor x, Tensor weight) => x * rsqrt(x.square().mean([-1], true) + 1e-5) * weight;
        void Check() => OperatorCheck.BFloat16IsAsGoodAsComposed(
            i => Run(i, FusionKind.Difference, 1, 1), i => Norm(i[0]!, i[2]!) - Norm(i[1]!, i[3]!),
            i => Reference(i, FusionKind.Difference, 1, 1), inputs);
        Check();
        using var options = OperatorOptions.Use(new() { BranchFusionBackend = KernelBackend.Cuda });
        using var emulation = new CudaEmulation();
        Check();
    }

    [Fact]
    public void What_does_not_fit_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        Tensor x = zeros(2, 6), other = zeros(2, 8);
        Refusal.Expect("second", "(2, 8)", () => BranchFusion.Forward(new(x), new(other), FusionKind.Add));
        Refusal.Expect("first", "first.Groups is 4", () => BranchFusion.Forward(new(x, null, 4), new(x), FusionKind.Add));
        Refusal.Expect("first", "(6)", () => BranchFusion.Forward(new(x, zeros(5)), new(x), FusionKind.Add));
        Refusal.Expect("gate", "null", () => BranchFusion.Forward(new(x), new(x), FusionKind.Gate));
        Refusal.Expect("gate", "Add", () => BranchFusion.Forward(new(x), new(x), FusionKind.Add, zeros(6)));
        Refusal.Expect("second", "Float64", () => BranchFusion.Forward(new(x), new(x.to(ScalarType.Float64)), FusionKind.Add));
    }
}
