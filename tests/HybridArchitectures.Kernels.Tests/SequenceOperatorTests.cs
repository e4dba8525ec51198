using System.Diagnostics;
using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// What every operator along a sequence promises, checked for each of them. Results and gradients of a weighted sum of output and final state are compared
/// with the sequential reference in float64; an error is the largest difference over the largest expected magnitude of that tensor.
/// </summary>
public abstract class SequenceOperatorTests
{
    // float32 sums over up to 1000 tokens and 256 states: 2^-24 times a few tens; measured at most 6e-6
    const double Tolerance = 2e-5;

    /// <summary>The inputs (batch, length, ...).</summary>
    protected abstract IReadOnlyList<string> Timed { get; }

    /// <summary>Those in the activations' type; all others are float32.</summary>
    protected virtual IReadOnlyList<string> Activations => Timed;

    protected abstract KernelBackend Backend { set; }

    /// <summary>Random float64 inputs with every option in use; sizes differ with the variant.</summary>
    protected abstract Tensors Inputs(long batch, long length, int variant = 0);

    protected abstract int Variants { get; }

    /// <summary>The names of inputs that may be left out.</summary>
    protected abstract IReadOnlyList<string> Optional { get; }

    protected abstract (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout = null);

    protected abstract Tensor Step(Tensor state, Tensors inputs);

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
        for (int variant = 0; variant < Variants; variant++)
        {
            using var scope = NewDisposeScope();
            CheckAgainstReference(Inputs(2, 70, variant));
        }
    }

    [Fact]
    public void Every_option_may_be_left_out()
    {
        foreach (var name in Optional)
        {
            using var scope = NewDisposeScope();
            var inputs = Inputs(2, 70);
            inputs.Remove(name);
            CheckAgainstReference(inputs);
        }
        using var outer = NewDisposeScope();
        var plain = Inputs(2, 70);
        foreach (var name in Optional) plain.Remove(name);
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
    public void Rows_of_documents_and_pads_match_the_float64_reference()
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 63, 1, 0, 64, 40], [200], [], [130, 1, 1, 1, 60], [0, 3], [64, 64, 72]], 200);
        CheckAgainstReference(Inputs(6, 200), layout);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Packed_documents_equal_rows_of_their_own_forward_and_in_every_gradient(ScalarType type)
    {
        using var scope = NewDisposeScope();
        long[] lengths = [5, 0, 64, 1, 2, 70, 0, 58];
        var packed = Inputs(1, 200);
        packed.Remove("initialState");
        using var layout = SequenceLayout.Packed([lengths], 205);
        // what pads hold is nobody's business
        foreach (var name in Timed) packed[name] = cat([packed[name], full_like(packed[name].narrow(1, 0, 5), double.NaN)], 1);
        var together = Evaluate(packed, type, layout, output: 1, final: 0);

        var parts = new List<Tensors>();
        long begin = 0;
        foreach (var length in lengths.Where(length => length > 0))
        {
            var one = new Tensors(packed);
            foreach (var name in Timed) one[name] = packed[name].narrow(1, begin, length);
            parts.Add(Evaluate(one, type, null, 1, 0, begin));
            begin += length;
        }
        foreach (var name in together.Keys.Where(name => name != "final"))
        {
            bool timed = name == "output" || Timed.Contains(name[2..]);
            var expected = timed ? cat([.. parts.Select(part => part[name]), zeros_like(together[name].narrow(1, 0, 5))], 1)
                : stack(parts.Select(part => part[name]).ToArray()).sum(dim: 0);
            Close(name, together[name], expected, type);
        }
        Close("final", together["final"], parts[^1]["final"], type);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Padded_rows_equal_the_row_alone(ScalarType type)
    {
        using var scope = NewDisposeScope();
        long[] lengths = [100, 0, 1, 64, 37];
        var batch = Inputs(lengths.Length, 100);
        using var layout = SequenceLayout.Padded(lengths, 100);
        var together = Evaluate(batch, type, layout);
        for (int row = 0; row < lengths.Length; row++)
        {
            var one = new Tensors(batch) { ["initialState"] = batch["initialState"].narrow(0, row, 1) };
            if (lengths[row] == 0)
            {
                Close("final", together["final"].narrow(0, row, 1), one["initialState"].to(type).to(ScalarType.Float64), type);
                Assert.Equal(0, together["output"][row].abs().max().item<double>());
                continue;
            }
            foreach (var name in Timed) one[name] = batch[name].narrow(0, row, 1).narrow(1, 0, lengths[row]);
            var alone = Evaluate(one, type, null, row: row);
            foreach (var name in alone.Keys)
                if (name is "final" or "d initialState") Close(name, together[name].narrow(0, row, 1), alone[name], type);
                else if (name == "output" || Timed.Contains(name[2..]))
                {
                    Close(name, together[name].narrow(0, row, 1).narrow(1, 0, lengths[row]), alone[name], type);
                    if (lengths[row] < 100) Assert.Equal(0, together[name][row].narrow(0, lengths[row], 100 - lengths[row]).abs().max().item<double>());
                }
        }
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(64), InlineData(99), InlineData(149)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at)
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 150);
        var whole = Evaluate(inputs, ScalarType.Float32);
        var leaves = Leaves(inputs, ScalarType.Float32);
        Tensors Part(long start, long count)
        {
            var part = new Tensors(leaves);
            foreach (var name in Timed) part[name] = leaves[name].narrow(1, start, count);
            return part;
        }
        var (before, middle) = Forward(Part(0, at));
        var second = Part(at, 150 - at);
        second["initialState"] = middle;
        var (after, final) = Forward(second);
        var split = Backward(leaves, cat([before, after], 1), final);
        foreach (var name in whole.Keys) Close(name, split[name], whole[name], ScalarType.Float32);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float64)]
    public void Steps_equal_the_whole_row(ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var off = no_grad();
        var inputs = Leaves(Inputs(3, 70), type);
        var (output, final) = Forward(inputs);
        var state = inputs["initialState"].detach().clone();
        var outputs = new List<Tensor>();
        for (int t = 0; t < 70; t++)
        {
            var one = new Tensors(inputs);
            foreach (var name in Timed) one[name] = inputs[name].select(1, t);
            outputs.Add(Step(state, one));
        }
        Close("output", stack([.. outputs], 1), output.to(ScalarType.Float64), type);
        Close("final", state, final.to(ScalarType.Float64), ScalarType.Float32);
    }

    [Fact]
    public void Bfloat16_errs_at_most_twice_as_much_as_the_reference_with_float32_sums()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(2, 200);
        var exact = Evaluate(inputs, ScalarType.Float64, rounding: ScalarType.BFloat16);
        var ours = Evaluate(inputs, ScalarType.BFloat16);
        Tensors reference;
        try
        {
            Backend = KernelBackend.Reference;
            reference = Evaluate(inputs, ScalarType.BFloat16);
        }
        finally
        {
            Backend = KernelBackend.Auto;
        }
        foreach (var name in exact.Keys)
        {
            // where both are exact but for float32 rounding, such as in the final state, that rounding is the measure
            double allowed = Math.Max(2 * Error(reference[name], exact[name]), Tolerance), error = Error(ours[name], exact[name]);
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
        try
        {
            CpuTasks.Poison = true;
            var actual = Evaluate(inputs, ScalarType.Float32, layout);
            foreach (var name in expected.Keys) Assert.True(actual[name].eq(expected[name]).all().item<bool>(), name);
        }
        finally
        {
            CpuTasks.Poison = false;
        }
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Inputs_and_layout_may_be_disposed_before_gradients_are_asked_for(ScalarType type)
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
    public void What_is_kept_for_the_gradient_grows_with_the_length_and_no_faster()
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
        using var stop = new CancellationTokenSource();
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested) { GC.Collect(); GC.WaitForPendingFinalizers(); }
        });
        collector.Start();
        int runs = 0, nodes = AutogradNode.Count;
        try
        {
            for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(2); runs++)
            {
                using var inner = NewDisposeScope();
                var actual = Evaluate(inputs, ScalarType.Float32);
                foreach (var name in expected.Keys) Assert.True(actual[name].eq(expected[name]).all().item<bool>(), name);
            }
        }
        finally
        {
            stop.Cancel();
            collector.Join();
        }
        Assert.True(runs > 10, $"{runs} runs");
        Assert.Equal(nodes, AutogradNode.Count);
    }

    [Fact]
    public void The_back_end_is_visible_and_can_be_forced()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs(1, 5);
        Assert.Equal(KernelBackend.Cpu, BackendFor(inputs["x"].to(ScalarType.Float32)));
        Assert.Equal(KernelBackend.Cpu, BackendFor(inputs["x"].to(ScalarType.BFloat16)));
        Assert.Equal(KernelBackend.Reference, BackendFor(inputs["x"]));
        try
        {
            Backend = KernelBackend.Cpu;
            Assert.Contains("Float64", Assert.Throws<ArgumentException>("x", () => Forward(inputs)).Message);
            Backend = KernelBackend.Reference;
            Assert.Equal(KernelBackend.Reference, BackendFor(inputs["x"].to(ScalarType.Float32)));
        }
        finally
        {
            Backend = KernelBackend.Auto;
        }
    }

    protected abstract KernelBackend BackendFor(Tensor x);

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
        using var off = no_grad();
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

    protected static void Close(string name, Tensor actual, Tensor expected, ScalarType type, double? tolerance = null)
    {
        double error = Error(actual, expected), allowed = tolerance ?? type switch { ScalarType.Float64 => 1e-12, ScalarType.BFloat16 => 8e-3, _ => Tolerance };
        Assert.True(error <= allowed, $"{name}: error {error:g3}, allowed {allowed:g3}");
    }

    // not below 1e-3, lest a gradient that is nothing but rounding be measured by itself
    static double Error(Tensor actual, Tensor expected)
    {
        using var scope = NewDisposeScope();
        if (expected.NumberOfElements == 0) return 0;
        double difference = (actual.detach().to(ScalarType.Float64) - expected).abs().max().item<double>();
        return double.IsNaN(difference) ? double.PositiveInfinity : difference / Math.Max(1e-3, expected.abs().max().item<double>());
    }

    Tensors Leaves(Tensors inputs, ScalarType type, ScalarType? rounding = null)
    {
        var leaves = new Tensors();
        foreach (var (name, tensor) in inputs)
        {
            var own = Activations.Contains(name) || type == ScalarType.Float64 ? type : ScalarType.Float32;
            var rounded = rounding is { } coarse ? tensor.to(Activations.Contains(name) ? coarse : ScalarType.Float32) : tensor;
            leaves[name] = rounded.to(own, copy: true).detach().requires_grad_();
        }
        return leaves;
    }

    /// <summary>Output, final state and all gradients as float64, of inputs taken to a type (after rounding to another).</summary>
    protected Tensors Evaluate(Tensors inputs, ScalarType type, SequenceLayout? layout = null, double output = 1, double final = 1, long offset = 0,
        long row = 0, ScalarType? rounding = null)
    {
        var leaves = Leaves(inputs, type, rounding);
        var (result, state) = Forward(leaves, layout);
        return Backward(leaves, result, state, output, final, offset, row);
    }

    static Tensors Backward(Tensors leaves, (Tensor Output, Tensor Final) results) => Backward(leaves, results.Output, results.Final);

    // the weights of the sum depend on an element's place alone: cosines, of bfloat16's precision so that no type rounds them
    static Tensors Backward(Tensors leaves, Tensor output, Tensor final, double outputWeight = 1, double finalWeight = 1, long offset = 0, long row = 0)
    {
        static Tensor Weights(Tensor like, long offset, long row)
        {
            long perRow = like.NumberOfElements / like.size(0), perToken = perRow / like.size(1);
            var weights = new double[like.NumberOfElements];
            for (long i = 0; i < weights.Length; i++) weights[i] = Math.Cos(0.7 * (i % perRow + offset * perToken) + 1.3 * (i / perRow + row));
            return tensor(weights, like.shape).to(ScalarType.BFloat16).to(ScalarType.Float64);
        }
        var values = new Tensors { ["output"] = output.detach().to(ScalarType.Float64), ["final"] = final.detach().to(ScalarType.Float64) };
        var parts = new List<Tensor>();
        if (outputWeight != 0) parts.Add((output.to(ScalarType.Float64) * Weights(output, offset, row)).sum());
        if (finalWeight != 0 && final.NumberOfElements > 0) parts.Add((final.to(ScalarType.Float64) * Weights(final, 0, row)).sum());
        Autograd.Backward(parts.Count == 2 ? parts[0].add(parts[1], Scalars.One) : parts[0]);
        foreach (var (name, leaf) in leaves)
            values["d " + name] = leaf.grad is { } gradient ? gradient.to(ScalarType.Float64) : zeros_like(leaf, ScalarType.Float64);
        return values;
    }
}
