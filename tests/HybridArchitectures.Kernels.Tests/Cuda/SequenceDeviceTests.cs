using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests an operator along a sequence on a GPU. Errors are measured against float64 and may be at most twice those of libtorch's operators composed
/// in the same dtype. All memory that the kernels write contains NaN before.
/// </summary>
public abstract class SequenceDeviceTests
{
    static readonly ScalarType[] Types = [ScalarType.BFloat16, ScalarType.Float32];

    protected abstract SequenceOperator Operator { get; }

    /// <summary>Returns inputs whose other sizes leave room for very long rows.</summary>
    protected abstract Tensors LongInputs(long length);

    /// <summary>Returns inputs with sizes at which many blocks are at work at once.</summary>
    protected abstract Tensors LargeInputs();

    /// <summary>Returns the form to compare with in this dtype. The default is the form token by token with float32 products.</summary>
    protected virtual Func<Tensors, SequenceLayout?, (Tensor, Tensor)>? Alike(ScalarType type) => null;

    SequenceProperties Properties
    {
        get
        {
            Gpu.IsNeeded();
            return new(Operator, Gpu.Device);
        }
    }

    [Theory]
    [InlineData(1), InlineData(63), InlineData(64), InlineData(65), InlineData(127), InlineData(128), InlineData(129), InlineData(255),
        InlineData(256), InlineData(257)]
    [InlineData(1000), InlineData(4099), InlineData(70_000)]
    public void Errors_are_at_most_twice_those_of_composed_operators_at_any_length(int length)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        ErrsAtMostTwice(() => length > 1000 ? LongInputs(length) : Operator.Inputs(2, length));
    }

    [Fact]
    public void Errors_are_at_most_twice_those_of_composed_operators_at_all_sizes()
    {
        Gpu.IsNeeded();
        for (int variant = 0; variant < Operator.Variants; variant++)
        {
            using var scope = NewDisposeScope();
            ErrsAtMostTwice(() => Operator.Inputs(2, 300, variant));
        }
    }

    [Fact]
    public void Every_option_may_be_left_out()
    {
        Gpu.IsNeeded();
        foreach (var name in Operator.Optional)
        {
            using var scope = NewDisposeScope();
            ErrsAtMostTwice(() => Operator.Inputs(2, 70).Where(input => input.Key != name).ToDictionary());
        }
        using var outer = NewDisposeScope();
        ErrsAtMostTwice(() => Operator.Inputs(2, 70).Where(input => !Operator.Optional.Contains(input.Key)).ToDictionary());
    }

    [Fact]
    public void Documents_and_padding_err_at_most_twice_as_much_as_composed_operators()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 63, 1, 0, 64, 40], [200], [], [130, 1, 1, 1, 60], [0, 3], [64, 64, 72]], 200, Gpu.Device);
        ErrsAtMostTwice(() => Operator.Inputs(6, 200), layout);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient(ScalarType type)
    {
        Properties.PackedDocumentsEqualSeparateRows(type, [5, 0, 64, 1, 2, 70, 0, 58], 5);
        Properties.PackedDocumentsEqualSeparateRows(type, [0, 15, 85, 200, 900, 0, 800], 48);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Padded_rows_equal_the_row_alone(ScalarType type) => Properties.PaddedRowsEqualTheRowAlone(type, [300, 0, 1, 64, 137], 300);

    [Theory]
    [InlineData(1), InlineData(2), InlineData(64), InlineData(99), InlineData(149)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at)
    {
        Properties.SplitEqualsWhole(ScalarType.Float32, 150, at);
        Properties.SplitEqualsWhole(ScalarType.Float32, 1500, 10 * at);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Steps_equal_the_whole_row(ScalarType type) => Properties.StepsEqualTheWholeRow(type, 130);

    [Fact]
    public void Slices_of_wider_tensors_are_read_as_they_are()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        foreach (var type in Types)
        {
            var inputs = Operator.Leaves(Operator.Inputs(2, 200), type, device: Gpu.Device);
            var sliced = Operator.Leaves(Operator.Inputs(2, 200), type, device: Gpu.Device);
            foreach (var name in Operator.Timed)
            {
                var tensor = inputs[name].detach();
                var wide = full_like(cat([tensor, tensor, tensor], -1), double.NaN);
                wide.narrow(-1, tensor.size(-1), tensor.size(-1)).copy_(tensor);
                sliced[name] = wide.narrow(-1, tensor.size(-1), tensor.size(-1)).requires_grad_();
            }
            var expected = SequenceOperator.Backward(inputs, Operator.Forward(inputs));
            var actual = SequenceOperator.Backward(sliced, Operator.Forward(sliced));
            foreach (var name in expected.Keys) SequenceOperator.Close(name, actual[name], expected[name], type);
        }
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void A_hundred_runs_are_equal_to_the_bit(ScalarType type)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        var leaves = Operator.Leaves(LargeInputs(), type, device: Gpu.Device);
        Tensor? direction = null;
        Tensor[]? first = null;
        var differing = zeros([1], ScalarType.Int64, Gpu.Device);
        for (int run = 0; run < 100; run++)
        {
            using var inner = NewDisposeScope();
            var (output, final) = Operator.Forward(leaves);
            direction ??= randn_like(output).DetachFromDisposeScope();
            // the final state's gradient as well: that of its square
            Autograd.Backward((output * direction).sum().to(ScalarType.Float32).add(final.to(ScalarType.Float32).square().sum(), Scalars.One));
            Tensor[] results = [output.detach(), final.detach(), .. leaves.Values.Select(leaf => leaf.grad!)];
            if (first is null) first = [.. results.Select(result => result.clone().DetachFromDisposeScope())];
            else
                for (int i = 0; i < results.Length; i++) differing.add_(results[i].ne(first[i]).sum(), Scalars.One);
            foreach (var leaf in leaves.Values) leaf.grad = null;
        }
        foreach (var tensor in first!.Append(direction!))
        {
            Assert.True(tensor.isfinite().all().item<bool>());
            tensor.Dispose();
        }
        Assert.Equal(0, differing.item<long>());
    }

    [Fact]
    public void A_row_past_two_to_the_31st_element_equals_the_row_alone()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        var inputs = new Tensors();
        foreach (var (name, tensor) in HugeInputs())
            inputs[name] = tensor.to(Operator.Activations.Contains(name) ? ScalarType.BFloat16 : ScalarType.Float32).detach().requires_grad_();
        var (output, final) = Operator.Forward(inputs);
        Assert.True(output.NumberOfElements > int.MaxValue);
        var direction = randn_like(output);
        Autograd.Backward(output, direction);
        long rows = output.size(0);
        var batched = Operator.Timed.Append("initialState").Where(inputs.ContainsKey).ToArray();
        foreach (long row in new[] { 0, rows - 1 })
        {
            using var inner = NewDisposeScope();
            var alone = new Tensors();
            foreach (var (name, tensor) in inputs)
                alone[name] = (batched.Contains(name) ? tensor.detach().narrow(0, row, 1) : tensor.detach()).clone().requires_grad_();
            var (own, ownFinal) = Operator.Forward(alone);
            Autograd.Backward(own, direction.narrow(0, row, 1).contiguous());
            SequenceOperator.Close("output", output.narrow(0, row, 1), own.detach().to(ScalarType.Float64), ScalarType.BFloat16);
            SequenceOperator.Close("final", final.narrow(0, row, 1), ownFinal.detach().to(ScalarType.Float64), ScalarType.BFloat16);
            foreach (var name in batched)
                SequenceOperator.Close($"d {name}", inputs[name].grad!.narrow(0, row, 1), alone[name].grad!.to(ScalarType.Float64),
                    ScalarType.BFloat16);
        }
    }

    /// <summary>Returns inputs on the GPU with more than 2^31 elements of activations in several rows.</summary>
    protected abstract Tensors HugeInputs();

    protected static Tensor Huge(params long[] size) => randn(size, ScalarType.BFloat16, Gpu.Device);

    // Errors are taken over several draws where composed operators are quick: of a gradient of a few numbers, a single draw tells little.
    // `ofA`: as `order` of OperatorCheck, for the gradient of a with bfloat16.
    protected void ErrsAtMostTwice(Func<Tensors> draw, SequenceLayout? layout = null, double ofA = OperatorCheck.Order)
    {
        const int Draws = 6, Short = 300;
        foreach (var type in Types)
        {
            using var scope = NewDisposeScope();
            var alike = Alike(type);
            var all = new Dictionary<string, (List<Tensor> Ours, List<Tensor> Composed, List<Tensor> Exact)>();
            for (int i = 0, draws = Draws; i < draws; i++)
            {
                using var inner = NewDisposeScope();
                SequenceOperator.Draw = i;
                var inputs = draw();
                SequenceOperator.Draw = 0;
                if (alike is null && inputs["x"].size(1) > Short) draws = 1;
                var exact = Operator.Evaluate(inputs, ScalarType.Float64, layout, rounding: type, device: Gpu.Device, forward: Operator.Composed);
                // token by token, as one would write it, where that ends in time
                var composed = Operator.Evaluate(
                    inputs, type, layout, device: Gpu.Device, forward: alike ?? (inputs["x"].size(1) <= 1000 ? Sequential : Operator.Composed));
                Tensors ours;
                using (Gpu.Poisoned()) ours = Operator.Evaluate(inputs, type, layout, device: Gpu.Device);
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
            foreach (var (name, lists) in all)
                OperatorCheck.ErrsAtMostTwice($"{type}, {name}", stack(lists.Ours), stack(lists.Composed), stack(lists.Exact),
                type == ScalarType.BFloat16 && name == "d A" ? ofA : OperatorCheck.Order);
        }
    }

    (Tensor, Tensor) Sequential(Tensors inputs, SequenceLayout? layout)
    {
        using var options = OperatorOptions.Use(OperatorOptions.Current with { Backend = KernelBackend.Reference });
        return Operator.Forward(inputs, layout);
    }
}
