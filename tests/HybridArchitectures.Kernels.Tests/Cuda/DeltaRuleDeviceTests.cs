using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests a gated delta rule on a GPU in bfloat16. Errors are measured against float64 and may be at most twice those of chunks composed of bfloat16
/// operators. All memory that the kernels write contains NaN before.
/// </summary>
[Trait("device", "cuda")]
public abstract class DeltaRuleDeviceTests(DeltaRuleOperator op)
{
    SequenceProperties Properties
    {
        get
        {
            Gpu.IsNeeded();
            return new(op, Gpu.Device);
        }
    }

    protected void ErrsAtMostTwice(Func<Tensors> draw, SequenceLayout? layout = null, int draws = 3)
    {
        using var scope = NewDisposeScope();
        var all = new Dictionary<string, (List<Tensor> Ours, List<Tensor> Composed, List<Tensor> Exact)>();
        for (int i = 0; i < draws; i++)
        {
            using var inner = NewDisposeScope();
            SequenceOperator.Draw = i;
            var inputs = draw();
            SequenceOperator.Draw = 0;
            var exact = op.Evaluate(inputs, ScalarType.Float64, layout, rounding: ScalarType.BFloat16, device: Gpu.Device);
            var composed = op.Evaluate(inputs, ScalarType.BFloat16, layout, device: Gpu.Device, forward: op.Rounded);
            Tensors ours;
            using (Gpu.Poisoned()) ours = op.Evaluate(inputs, ScalarType.BFloat16, layout, device: Gpu.Device);
            foreach (var name in exact.Keys)
            {
                if (!all.TryGetValue(name, out var lists)) all[name] = lists = ([], [], []);
                // every draw counts alike, however large its results
                var size = exact[name].square().mean().sqrt().clamp_min(1e-3);
                lists.Ours.Add((ours[name] / size).MoveToOuterDisposeScope());
                lists.Composed.Add((composed[name] / size).MoveToOuterDisposeScope());
                lists.Exact.Add((exact[name] / size).MoveToOuterDisposeScope());
            }
        }
        foreach (var (name, lists) in all) OperatorCheck.ErrsAtMostTwice(name, stack(lists.Ours), stack(lists.Composed), stack(lists.Exact));
    }

    [Theory]
    [InlineData(1), InlineData(63), InlineData(64), InlineData(65), InlineData(127), InlineData(129), InlineData(1000), InlineData(4099)]
    public void Errors_are_at_most_twice_those_of_composed_operators_at_any_length(int length)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() => op.Sized(2, length, 4, 128, 2, 128), draws: length > 1000 ? 1 : 3);
    }

    [Theory]
    [InlineData(4, 64, 2, 64), InlineData(4, 128, 4, 64), InlineData(4, 64, 1, 128), InlineData(3, 72, 1, 24), InlineData(2, 8, 2, 8)]
    [InlineData(160, 128, 80, 128)]
    public void Errors_are_at_most_twice_those_of_composed_operators_at_all_sizes(long heads, long valueSize, long groups, long keySize)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() => op.Sized(2, 300, heads, valueSize, groups, keySize), draws: heads > 100 ? 1 : 3);
    }

    [Fact]
    public void Documents_and_padding_err_at_most_twice_as_much_as_composed_operators()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 63, 1, 0, 64, 40], [200], [], [130, 1, 1, 1, 60], [0, 3], [64, 64, 72]], 200, Gpu.Device);
        ErrsAtMostTwice(() => op.Sized(6, 200, 4, 128, 2, 128), layout);
    }

    [Fact]
    public void Every_option_may_be_left_out()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() => op.Sized(2, 70, 4, 64, 2, 64).Where(input => input.Key != "initialState").ToDictionary());
    }

    [Theory]
    [InlineData(1e-6, 1), InlineData(1000, 2), InlineData(1, 0), InlineData(0, 2)]
    public void Strong_and_weak_decay_and_any_strength(double decay, double strength)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() =>
        {
            var inputs = op.Sized(2, 300, 4, 64, 2, 64);
            inputs["decay"] = inputs["decay"] * decay;
            DeltaRuleOperator.ChangeStrengths(inputs, strengths => full_like(strengths, strength));
            return inputs;
        });
    }

    [Fact]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient()
    {
        Properties.PackedDocumentsEqualSeparateRows(ScalarType.BFloat16, [5, 0, 64, 1, 2, 70, 0, 58], 5, 4);
        Properties.PackedDocumentsEqualSeparateRows(ScalarType.BFloat16, [0, 15, 85, 200, 900, 0, 800], 48, 4);
    }

    [Fact]
    public void Padded_rows_equal_the_row_alone() => Properties.PaddedRowsEqualTheRowAlone(ScalarType.BFloat16, [300, 0, 1, 64, 137], 300, 4);

    [Theory]
    [InlineData(64), InlineData(128)]
    public void A_row_split_between_chunks_with_its_state_carried_equals_the_whole(int at) =>
        Properties.SplitEqualsWhole(ScalarType.BFloat16, 150, at, 4);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Steps_equal_the_whole_row(ScalarType type)
    {
        for (int variant = 0; variant < op.Variants; variant++)
            Properties.StepsEqualTheWholeRow(type, 130, variant);
    }

    [Fact]
    public void A_hundred_runs_are_equal_to_the_bit()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        var leaves = op.Leaves(op.Sized(2, 2048, 16, 128, 8, 128), ScalarType.BFloat16, device: Gpu.Device);
        Tensor[]? first = null;
        var differing = zeros([1], ScalarType.Int64, Gpu.Device);
        for (int run = 0; run < 100; run++)
        {
            using var inner = NewDisposeScope();
            var (output, final) = op.Forward(leaves);
            Autograd.Backward((output * output).sum().to(ScalarType.Float32).add(final.square().sum(), Scalars.One));
            Tensor[] results = [output.detach(), final.detach(), .. leaves.Values.Select(leaf => leaf.grad!)];
            if (first is null) first = [.. results.Select(result => result.clone().DetachFromDisposeScope())];
            else
                for (int i = 0; i < results.Length; i++) differing.add_(results[i].ne(first[i]).sum(), Scalars.One);
            foreach (var leaf in leaves.Values) leaf.grad = null;
        }
        foreach (var tensor in first!)
        {
            Assert.True(tensor.isfinite().all().item<bool>());
            tensor.Dispose();
        }
        Assert.Equal(0, differing.item<long>());
    }
}
