using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Checks the promises of every operator along a sequence. Results and gradients of a weighted sum of output and final state are compared with the
/// sequential reference in float64; an error is the maximum difference over the maximum expected magnitude of that tensor.
/// </summary>
public abstract class SequenceOperatorTests
{
    protected abstract SequenceOperator Operator { get; }

    SequenceProperties Properties => new(Operator);

    IReadOnlyList<string> Timed => Operator.Timed;

    protected Tensors Inputs(long batch, long length, int variant = 0) => Operator.Inputs(batch, length, variant);

    protected (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout = null) => Operator.Forward(inputs, layout);

    Tensor Step(Tensor state, Tensors inputs) => Operator.Step(state, inputs);

    [Theory]
    [InlineData(1), InlineData(3), InlineData(63), InlineData(64), InlineData(65), InlineData(127), InlineData(128), InlineData(129)]
    [InlineData(255), InlineData(256), InlineData(257), InlineData(1000)]
    public void Results_and_gradients_match_the_float64_reference_at_any_length(int length)
    {
        using var scope = NewDisposeScope();
        CheckAgainstReference(Inputs(2, length));
    }

    [Fact]
    public void Results_and_gradients_match_the_float64_reference_at_all_sizes()
    {
        for (int variant = 0; variant < Operator.Variants; variant++)
        {
            using var scope = NewDisposeScope();
            CheckAgainstReference(Inputs(2, 70, variant));
        }
    }

    [Fact]
    public void Every_option_may_be_left_out()
    {
        foreach (var name in Operator.Optional)
        {
            using var scope = NewDisposeScope();
            var inputs = Inputs(2, 70);
            inputs.Remove(name);
            CheckAgainstReference(inputs);
        }
        using var outer = NewDisposeScope();
        var plain = Inputs(2, 70);
        foreach (var name in Operator.Optional) plain.Remove(name);
        CheckAgainstReference(plain);
    }

    [Fact]
    public void Output_alone_or_final_state_alone_have_gradients()
    {
        foreach (var (output, final) in new[] { (1, 0), (0, 1) })
        {
            using var scope = NewDisposeScope();
            CheckAgainstReference(Inputs(2, 130), null, output, final);
        }
    }

    [Fact]
    public void Rows_of_documents_and_padding_match_the_float64_reference()
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 63, 1, 0, 64, 40], [200], [], [130, 1, 1, 1, 60], [0, 3], [64, 64, 72]], 200);
        CheckAgainstReference(Inputs(6, 200), layout);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient(ScalarType type) =>
        Properties.PackedDocumentsEqualSeparateRows(type, [5, 0, 64, 1, 2, 70, 0, 58], 5);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Padded_rows_equal_the_row_alone(ScalarType type) => Properties.PaddedRowsEqualTheRowAlone(type, [100, 0, 1, 64, 37], 100);

    [Theory]
    [InlineData(1), InlineData(2), InlineData(64), InlineData(99), InlineData(149)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at) => Properties.SplitEqualsWhole(ScalarType.Float32, 150, at);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float64)]
    public void Steps_equal_the_whole_row(ScalarType type) => Properties.StepsEqualTheWholeRow(type, 70);

    [Fact]
    public void Bfloat16_errs_at_most_twice_as_much_as_the_reference_with_float32_sums()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 200);
        var exact = Evaluate(inputs, ScalarType.Float64, rounding: ScalarType.BFloat16);
        var ours = Evaluate(inputs, ScalarType.BFloat16);
        Tensors reference;
        using (OperatorOptions.Use(new() { Backend = KernelBackend.Reference })) reference = Evaluate(inputs, ScalarType.BFloat16);
        foreach (var name in exact.Keys)
        {
            // where both are exact but for float32 rounding, such as in the final state, that rounding is the measure
            double allowed = Math.Max(2 * SequenceOperator.Error(reference[name], exact[name]), SequenceOperator.Tolerance),
                error = SequenceOperator.Error(ours[name], exact[name]);
            Assert.True(error <= allowed, $"{name}: error {error:g3}, allowed {allowed:g3}");
        }
    }

    [Fact]
    public void Nothing_is_read_before_it_is_written_nor_left_unwritten()
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 63, 40], [], [104], [1, 1], [50, 33]], 104);
        var inputs = Inputs(5, 104);
        var expected = Evaluate(inputs, ScalarType.Float32, layout);
        using var options = OperatorOptions.Use(new() { NewMemoryFill = float.NaN });
        var actual = Evaluate(inputs, ScalarType.Float32, layout);
        foreach (var name in expected.Keys) Assert.True(actual[name].eq(expected[name]).all().item<bool>(), name);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Inputs_and_layout_may_be_disposed_before_the_backward_pass(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 70);
        var layout = SequenceLayout.Packed([[30, 20], [70]], 70);
        var expected = Evaluate(inputs, type, layout);
        var leaves = Leaves(inputs, type);
        var passing = leaves.ToDictionary(pair => pair.Key, pair => pair.Value.clone());
        var (output, final) = Forward(passing, layout);
        foreach (var tensor in passing.Values) tensor.Dispose();
        layout.Dispose();
        var actual = Backward(leaves, (output, final));
        foreach (var name in expected.Keys) Assert.True(actual[name].eq(expected[name]).all().item<bool>(), name);
    }

    [Fact]
    public void Memory_saved_for_backward_is_linear_in_the_length()
    {
        using var scope = NewDisposeScope();
        long Kept(long length)
        {
            using var inner = NewDisposeScope();
            var leaves = Leaves(Inputs(2, length), ScalarType.Float32);
            var before = AutogradNode.Nodes;
            var results = Forward(leaves);
            long bytes = AutogradNode.Nodes.Except(before).Sum(node => node.SavedBytes());
            GC.KeepAlive(results);
            return bytes;
        }
        long first = Kept(256), second = Kept(512), third = Kept(1024);
        Assert.True(first > 0);
        Assert.Equal(2 * (second - first), third - second);
    }

    [Fact]
    public void A_NaN_is_passed_on_to_what_follows_and_to_no_other_row()
    {
        using var scope = NewDisposeScope();
        foreach (var name in Timed)
        {
            var inputs = Leaves(Inputs(2, 40), ScalarType.Float32);
            inputs[name] = inputs[name].detach().clone();
            inputs[name][0, 20] = full_like(inputs[name][0, 20], float.NaN);
            var (output, _) = Forward(inputs);
            Assert.True(output[0, 20].isnan().all().item<bool>(), name);
            Assert.False(output[1].isnan().any().item<bool>(), name);
        }
    }

    [Fact]
    public void Slices_of_wider_tensors_are_read_as_they_are()
    {
        using var scope = NewDisposeScope();
        var (inputs, sliced) = (Leaves(Inputs(2, 70), ScalarType.Float32), Leaves(Inputs(2, 70), ScalarType.Float32));
        foreach (var name in Timed)
        {
            var tensor = inputs[name].detach();
            var wide = full_like(cat([tensor, tensor, tensor], -1), double.NaN);
            wide.narrow(-1, tensor.size(-1), tensor.size(-1)).copy_(tensor);
            sliced[name] = wide.narrow(-1, tensor.size(-1), tensor.size(-1)).requires_grad_();
            Assert.False(sliced[name].is_contiguous());
        }
        var expected = Backward(inputs, Forward(inputs));
        var actual = Backward(sliced, Forward(sliced));
        foreach (var name in expected.Keys) Assert.True(actual[name].eq(expected[name]).all().item<bool>(), name);
    }

    [Fact]
    public void Repeated_runs_are_equal_to_the_bit_on_any_number_of_threads()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(3, 150);
        var first = Evaluate(inputs, ScalarType.Float32);
        int threads = get_num_threads();
        try
        {
            foreach (int count in new[] { 1, 2, 3 })
            {
                set_num_threads(count);
                var again = Evaluate(inputs, ScalarType.Float32);
                foreach (var name in first.Keys) Assert.True(again[name].eq(first[name]).all().item<bool>(), name);
            }
        }
        finally
        {
            set_num_threads(threads);
        }
    }

    [Fact]
    public void Nothing_goes_wrong_under_continuous_garbage_collection()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 33);
        var expected = Evaluate(inputs, ScalarType.Float32);
        var earlier = AutogradNode.Nodes;
        OperatorCheck.UnderGarbageCollection(TimeSpan.FromSeconds(2), 10, () =>
        {
            using var inner = NewDisposeScope();
            var actual = Evaluate(inputs, ScalarType.Float32);
            foreach (var name in expected.Keys) Assert.True(actual[name].eq(expected[name]).all().item<bool>(), name);
        });
        Assert.Empty(AutogradNode.Nodes.Except(earlier));
    }

    [Fact]
    public void The_back_end_is_visible_and_can_be_forced()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(1, 5);
        Assert.Equal(KernelBackend.Cpu, Operator.BackendFor(inputs["x"].to(ScalarType.Float32)));
        Assert.Equal(KernelBackend.Cpu, Operator.BackendFor(inputs["x"].to(ScalarType.BFloat16)));
        Assert.Equal(KernelBackend.Reference, Operator.BackendFor(inputs["x"]));
        using (OperatorOptions.Use(new() { Backend = KernelBackend.Cpu }))
            Assert.Contains("Float64", Assert.Throws<ArgumentException>("x", () => Forward(inputs)).Message);
        using (OperatorOptions.Use(new() { Backend = KernelBackend.Reference }))
            Assert.Equal(KernelBackend.Reference, Operator.BackendFor(inputs["x"].to(ScalarType.Float32)));
        Assert.Equal(KernelBackend.Cpu, Operator.BackendFor(inputs["x"].to(ScalarType.Float32)));
    }

    [Fact]
    public void Tensors_that_do_not_fit_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var good = Leaves(Inputs(2, 6), ScalarType.Float32);
        foreach (var name in good.Keys)
        {
            var tensor = good[name];
            if (name != "x")        // against which the others are measured
            {
                Refused(name, cat([tensor, tensor], 0));
                Refused(name, tensor.unsqueeze(0));
                Refused(name, tensor.to(ScalarType.Float64));
            }
            Refused(name, tensor.to(ScalarType.Int64));
            Refused(name, tensor.reshape(-1).narrow(0, 0, 0));
        }
        using var layout = SequenceLayout.Padded([3, 4], 7);
        Assert.Throws<ArgumentException>("layout", () => Forward(good, layout));
        using var noGrad = no_grad();
        var one = new Tensors(good);
        foreach (var name in Timed) one[name] = good[name].select(1, 0);
        var state = good["initialState"].detach().clone();
        Assert.Throws<ArgumentException>("state", () => Step(state.narrow(0, 0, 1), one));
        Assert.Throws<ArgumentException>("state", () => Step(state.to(ScalarType.Float64), one));
        Assert.Throws<ArgumentException>("state", () => Step(state.transpose(0, 1).contiguous().transpose(0, 1), one));
        Assert.Throws<ArgumentException>("state", () => Step(good["initialState"], one));
        Assert.Throws<ArgumentException>("x", () => Step(state, new Tensors(one) { ["x"] = good["x"].unsqueeze(0) }));

        void Refused(string name, Tensor bad)
        {
            var error = Assert.ThrowsAny<ArgumentException>(() => Forward(new Tensors(good) { [name] = bad }));
            Assert.Contains(name, error.Message);
            Assert.Contains("expected", error.Message);
        }
    }

    // ---------------------------------------------------------------------------------------------------------------

    void CheckAgainstReference(Tensors inputs, SequenceLayout? layout = null, double output = 1, double final = 1)
    {
        var expected = Evaluate(inputs, ScalarType.Float64, layout, output, final, rounding: ScalarType.Float32);
        var actual = Evaluate(inputs, ScalarType.Float32, layout, output, final);
        foreach (var name in expected.Keys) Close(name, actual[name], expected[name], ScalarType.Float32);
    }

    protected void CheckAgainstReference(Tensors inputs, SequenceLayout? layout, Func<Tensors, SequenceLayout?, (Tensor, Tensor)> forward)
    {
        var (leaves, oracle) = (Leaves(inputs, ScalarType.Float32), Leaves(inputs, ScalarType.Float64, ScalarType.Float32));
        var (actual, expected) = (Backward(leaves, forward(leaves, layout)), Backward(oracle, forward(oracle, layout)));
        foreach (var name in expected.Keys) Close(name, actual[name], expected[name], ScalarType.Float32);
    }

    static void Close(string name, Tensor actual, Tensor expected, ScalarType type) => SequenceOperator.Close(name, actual, expected, type);

    Tensors Leaves(Tensors inputs, ScalarType type, ScalarType? rounding = null) => Operator.Leaves(inputs, type, rounding);

    Tensors Evaluate(Tensors inputs, ScalarType type, SequenceLayout? layout = null, double output = 1, double final = 1, long offset = 0,
        long row = 0,
        ScalarType? rounding = null) => Operator.Evaluate(inputs, type, layout, output, final, offset, row, rounding);

    static Tensors Backward(Tensors leaves, (Tensor Output, Tensor Final) results) => SequenceOperator.Backward(leaves, results);
}
