using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Compares the CUDA kernels of a gated delta rule under emulation with the reference in float64: output, final state, every gradient, and
/// <see cref="SequenceProperties"/>.
/// </summary>
public abstract class DeltaRuleEmulationTests : IDisposable
{
    readonly DeltaRuleOperator op;
    readonly SequenceProperties properties;
    readonly IDisposable options;

    protected DeltaRuleEmulationTests(DeltaRuleOperator op)
    {
        this.op = op;
        properties = new(op);
        options = OperatorOptions.Use(op.Select(KernelBackend.Cuda));
    }

    public void Dispose()
    {
        options.Dispose();
        GC.SuppressFinalize(this);
    }

    protected void IsAsGoodAsComposed(Tensors inputs, SequenceLayout? layout = null)
    {
        using var scope = NewDisposeScope();
        var exact = op.Evaluate(inputs, ScalarType.Float64, layout, rounding: ScalarType.BFloat16, forward: op.Reference);
        var composed = op.Evaluate(inputs, ScalarType.BFloat16, layout, forward: op.Rounded);
        var ours = op.Evaluate(inputs, ScalarType.BFloat16, layout);
        foreach (var name in exact.Keys)
            OperatorCheck.ErrsAtMostTwice($"{name} {string.Join(',', exact[name].shape)}", ours[name], composed[name], exact[name]);
    }

    // lengths next to the edges of chunks; sizes of one tile and of two, and some that fill neither; several heads a group
    [Theory]
    [InlineData(1, 2, 64, 1, 64, 90)]
    [InlineData(64, 1, 64, 1, 64, 90)]
    [InlineData(130, 2, 64, 1, 64, 90)]
    [InlineData(70, 3, 24, 3, 40, 80)]
    [InlineData(70, 2, 128, 1, 128, 90)]
    [InlineData(65, 2, 72, 2, 128, 80)]
    [InlineData(65, 1, 128, 1, 64, 80)]
    public void Gradients_err_at_most_twice_as_much_as_composed_operators(
        int length, int heads, int valueSize, int groups, int keySize, int capability)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Sized(2, length, heads, valueSize, groups, keySize);
        foreach (bool backwards in new[] { false, true })
        {
            using var emulation = new CudaEmulation(backwards, capability);
            IsAsGoodAsComposed(inputs);
            if (length > 65) break;
        }
    }

    [Fact]
    public void Every_option_may_be_left_out()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(backwards: true);
        var inputs = op.Sized(1, 66, 2, 64, 2, 64);
        inputs.Remove("initialState");
        IsAsGoodAsComposed(inputs);
    }

    // as many heads in all rows as the emulated device has multiprocessors, so that a block takes a whole head
    [Fact]
    public void Many_heads()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(capability: 80);
        IsAsGoodAsComposed(op.Sized(2, 67, 2, 72, 1, 8));
    }

    [Fact]
    public void Documents_and_padding()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(backwards: true);
        using var layout = SequenceLayout.Packed([[1, 63, 1, 0, 64, 3], [70], [], [0, 3]], 135);
        IsAsGoodAsComposed(op.Sized(4, 135, 2, 16, 1, 16), layout);
    }

    // a strength of 2 reflects, one of 0 writes nothing
    [Theory]
    [InlineData(1e-6, 1), InlineData(50, 1), InlineData(1000, 2), InlineData(1, 0), InlineData(0, 2)]
    public void Strong_and_weak_decay_and_any_strength(double decay, double strength)
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(capability: 80);
        var inputs = op.Sized(1, 70, 2, 16, 1, 16);
        inputs["decay"] = inputs["decay"] * decay;
        DeltaRuleOperator.ChangeStrengths(inputs, strengths => full_like(strengths, strength));
        IsAsGoodAsComposed(inputs);
    }

    [Fact]
    public void Equal_keys_are_solved_without_loss()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var inputs = op.Sized(1, 128, 1, 16, 1, 16);
        inputs["key"] = inputs["key"].narrow(1, 0, 1).expand(inputs["key"].shape).clone();
        inputs["decay"] = inputs["decay"] * 0.01;
        DeltaRuleOperator.ChangeStrengths(inputs, strengths => strengths * 0.2 + 1.8);
        IsAsGoodAsComposed(inputs);
    }

    [Fact]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient() =>
        CudaEmulation.BothOrders(() => properties.PackedDocumentsEqualSeparateRows(ScalarType.BFloat16, [5, 0, 33, 1, 2, 0], 3, 4));

    [Fact]
    public void Padded_rows_equal_the_row_alone() =>
        CudaEmulation.BothOrders(() => properties.PaddedRowsEqualTheRowAlone(ScalarType.BFloat16, [36, 0, 1, 9], 36, 4));

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Steps_equal_the_recurrence(ScalarType type)
    {
        for (int variant = 0; variant < op.Variants; variant++)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            using var emulation = new CudaEmulation();
            var inputs = op.Leaves(op.Inputs(2, 5, variant), type);
            var (expected, final) = op.Reference(op.Leaves(op.Inputs(2, 5, variant), ScalarType.Float64, rounding: type), null);
            var state = inputs["initialState"].detach().clone();
            var outputs = new Tensor[5];
            for (int t = 0; t < outputs.Length; t++)
                outputs[t] = op.Step(state, op.Timed.ToDictionary(name => name, name => inputs[name].select(1, t)));
            SequenceOperator.Close("output", stack(outputs, 1), expected, type);
            SequenceOperator.Close("final", state, final, ScalarType.Float32);
        }
    }

    [Fact]
    public void Slices_of_wider_tensors_are_read_as_they_are_and_others_are_copied()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var inputs = op.Leaves(op.Inputs(2, 20, 4), ScalarType.BFloat16);
        var expected = op.Forward(inputs);
        foreach (long offset in new[] { 8, 1 })
        {
            var sliced = new Tensors(inputs);
            foreach (var name in op.Timed)
            {
                var tensor = inputs[name].detach();
                long size = tensor.size(-1);
                sliced[name] = cat([full_like(tensor, double.NaN), tensor, full_like(tensor, double.NaN)], -1).narrow(-1, size, size);
                if (offset == 1) sliced[name] = cat([zeros_like(sliced[name]).narrow(-1, 0, 1), sliced[name]], -1).narrow(-1, 1, size);
            }
            var actual = op.Forward(sliced);
            Assert.True(actual.Output.Equals(expected.Output) && actual.Final.Equals(expected.Final));
        }
    }

    [Fact]
    public void What_the_kernels_do_not_support_is_refused_by_name_when_they_are_selected()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        void IsRefused(string what, Tensors inputs, ScalarType type) => Assert.Contains(what,
            Assert.Throws<ArgumentException>(() => op.Forward(op.Leaves(inputs, type))).Message, StringComparison.Ordinal);
        IsRefused("value is Float32; expected BFloat16", op.Inputs(1, 3, 4), ScalarType.Float32);
        IsRefused("head sizes of 7 and 5; expected multiples of 8 up to 128", op.Inputs(1, 3, 1), ScalarType.BFloat16);
        IsRefused("head sizes of 136 and 8", op.Sized(1, 3, 1, 8, 1, 136), ScalarType.BFloat16);
    }
}
