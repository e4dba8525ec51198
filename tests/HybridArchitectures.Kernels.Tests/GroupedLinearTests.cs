using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class GroupedLinearTests
{
    public static TheoryData<int[], int, int> Groups => new()
    {
        { [3, 5, 9], 8, 16 }, { [0, 4, 4, 7], 4, 8 }, { [6], 12, 4 }, { [1, 1, 1, 1, 2], 8, 8 }, { [2, 7], 5, 3 }, { [0, 0, 130, 257], 32, 64 },
    };

    [Theory, MemberData(nameof(Groups))]
    public void Gradients_match_float64_reference(int[] ends, int inputs, int outputs)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        var places = tensor(ends, ScalarType.Int32);
        OperatorCheck.MatchesReference(
            given => GroupedLinear.Forward(given[0]!, given[1]!, places), given => GroupedLinearReference.Forward(given[0]!, given[1]!, places),
            [OperatorCheck.Normal(ends[^1], inputs), OperatorCheck.Normal(ends.Length, outputs, inputs)]);
    }

    // output and gradients of gate, up and weight
    static Tensor[] Differentiate(Func<Tensor, Tensor, Tensor, Tensor> project, params Tensor[] values)
    {
        var leaves = Array.ConvertAll(values, value => value.detach().clone().requires_grad_());
        var output = project(leaves[0], leaves[1], leaves[2]);
        Autograd.Backward(output, OperatorCheck.Direction(output));
        return [output.detach(), .. leaves.Select(leaf => leaf.grad!)];
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, ScalarType.Float32), InlineData(ScalarType.BFloat16, ScalarType.BFloat16),
        InlineData(ScalarType.Float32, ScalarType.Float32)]
    public void Rows_computed_again_and_weights_of_another_type_have_the_same_bits(ScalarType type, ScalarType weightType)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var ends = tensor([4, 4, 9], ScalarType.Int32);
        Tensor[] values = [randn(9, 16).to(type), randn(9, 16).to(type), randn(3, 24, 16).to(weightType)];
        var expected = Differentiate((gate, up, weight) => GroupedLinear.Forward(SwiGlu.Forward(gate, up), weight.to(type), ends), values);
        Tensor[][] others =
        [
            Differentiate((gate, up, weight) => GroupedLinear.Forward(SwiGlu.Forward(gate, up), weight, ends), values),
            Differentiate((gate, up, weight) => GroupedLinear.ForwardOf(new SwiGluProduct(gate, up), weight, ends), values),
        ];
        foreach (var own in others)
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.Equal(expected[i].dtype, own[i].dtype);
                Assert.True(expected[i].equal(own[i]).all().item<bool>(), $"result {i} differs");
            }
        Assert.True(expected[3][1].eq(Scalars.Zero).all().item<bool>());        // of a group without rows
    }

    /// <summary>Elsewhere than in libtorch's kernels for bfloat16 on 9.x and 10.x, a capture would fail.</summary>
    [Theory]
    [InlineData(ScalarType.BFloat16, 8, 16, 90, false), InlineData(ScalarType.BFloat16, 16, 8, 100, false)]
    [InlineData(ScalarType.BFloat16, 8, 16, 80, true), InlineData(ScalarType.BFloat16, 8, 16, 120, true)]
    [InlineData(ScalarType.BFloat16, 12, 16, 90, true), InlineData(ScalarType.BFloat16, 16, 12, 90, true)]
    [InlineData(ScalarType.Float32, 8, 16, 90, true), InlineData(ScalarType.Float16, 8, 16, 90, true)]
    public void The_host_reads_sizes_where_libtorch_has_no_kernel(ScalarType type, int outputs, int inputs, int capability, bool reads)
    {
        using var weight = zeros(2, outputs, inputs);
        Assert.Equal(reads, GroupedLinear.ReadsSizes(type, weight, capability));
        Assert.True(GroupedLinear.ReadsSizes(type, weight));            // the reference of the CPU
        using var options = OperatorOptions.Use(new() { GroupedLinearBackend = KernelBackend.Reference });
        Assert.True(GroupedLinear.ReadsSizes(type, weight, capability));
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, 8), InlineData(ScalarType.Float32, 4), InlineData(ScalarType.BFloat16, 4200)]
    public void The_kernel_clears_groups_without_rows_and_no_others(ScalarType type, int width)
    {
        using var scope = NewDisposeScope();
        CudaEmulation.BothOrders(() =>
        {
            var values = full([6, 2, width], Scalars.From(double.NaN), type);
            values.narrow(0, 2, 1).fill_(Scalars.Two);
            Assert.True(EmptyGroupsCuda.Serves(values));
            EmptyGroupsCuda.Clear(values, tensor([0, 5, 9, 9, 9, 10], ScalarType.Int32));
            var cleared = values.eq(Scalars.Zero).flatten(1);
            Assert.Equal([true, false, false, true, true, false], cleared.all(1).data<bool>().ToArray());
            Assert.Equal([true, false, false, true, true, false], cleared.any(1).data<bool>().ToArray());
            Assert.True(values[2].eq(Scalars.Two).all().item<bool>());
        });
    }

    [Fact]
    public void BFloat16_is_as_good_as_composed_operators()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var places = tensor([10, 10, 37], ScalarType.Int32);
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            given => GroupedLinear.Forward(given[0]!, given[1]!, places), given => GroupedLinearReference.Forward(given[0]!, given[1]!, places),
            given => GroupedLinearReference.Forward(given[0]!, given[1]!, places), [OperatorCheck.Normal(37, 24), OperatorCheck.Normal(3, 16, 24)]);
    }

    [Fact]
    public void Views_of_wider_tensors_and_expanded_gradients_are_taken()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var x = randn(9, 24).narrow(1, 8, 8).detach().requires_grad_(); var weight = randn(2, 8, 16).transpose(1, 2).detach().requires_grad_();
        var ends = tensor([4, 9], ScalarType.Int32);
        Autograd.Backward(GroupedLinear.Forward(x, weight, ends).sum());
        var expected = cat([ones(4, 16).mm(weight[0]), ones(5, 16).mm(weight[1])], 0);
        Assert.True(x.grad!.allclose(expected, 1e-5, 1e-5));
    }

    [Fact]
    public void No_rows_at_all_give_no_rows_and_zero_gradients()
    {
        using var scope = NewDisposeScope();
        var x = zeros(0, 8, requires_grad: true); var weight = randn(3, 4, 8, requires_grad: true);
        var y = GroupedLinear.Forward(x, weight, zeros(3, ScalarType.Int32));
        Assert.Equal([0, 4], y.shape);
        Autograd.Backward(y.sum());
        Assert.Equal(0, weight.grad!.abs().max().item<float>());
    }

    [Fact]
    public void The_back_end_is_chosen_by_type_and_width()
    {
        using var scope = NewDisposeScope();
        Assert.Equal(KernelBackend.LibTorch, GroupedLinear.BackendFor(zeros(2, 8), zeros(1, 4, 8)));
        Assert.Equal(KernelBackend.Reference, GroupedLinear.BackendFor(zeros(2, 8, ScalarType.BFloat16), zeros(1, 4, 8, ScalarType.BFloat16)));
        Assert.Equal(KernelBackend.Reference, GroupedLinear.BackendFor(zeros(2, 8, ScalarType.Float64), zeros(1, 4, 8, ScalarType.Float64)));
    }

    [Fact]
    public void Bad_arguments_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        Tensor x = zeros(5, 8), weight = zeros(2, 4, 8), ends = tensor([2, 5], ScalarType.Int32);
        Refusal.Expect("x", "(5)", () => GroupedLinear.Forward(zeros(5), weight, ends));
        Refusal.Expect("weight", "(2, 8, 4)", () => GroupedLinear.Forward(x, zeros(2, 8, 4), ends));
        Refusal.Expect("weight", "BFloat16", () => GroupedLinear.Forward(x, zeros(2, 4, 8, ScalarType.BFloat16), ends));
        Refusal.Expect("ends", "(3)", () => GroupedLinear.Forward(x, weight, tensor([1, 2, 5], ScalarType.Int32)));
        Refusal.Expect("ends", "Int64", () => GroupedLinear.Forward(x, weight, tensor([2L, 5L])));
        Refusal.Expect("ends", "ends[1] is 1", () => GroupedLinear.Forward(x, weight, tensor([2, 1], ScalarType.Int32)));
        Refusal.Expect("ends", "the last of ends is 4", () => GroupedLinear.Forward(x, weight, tensor([2, 4], ScalarType.Int32)));
    }
}
