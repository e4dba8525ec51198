using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// The linear recurrence in chunks against the recurrence token by token in float64, and the latter against numbers worked out by hand.
/// </summary>
public class LinearRecurrenceTests
{
    static readonly LinearRecurrenceOperator op = new();

    static readonly SequenceProperties properties = new(op);

    static void Check(Tensors inputs, SequenceLayout? layout)
    {
        var expected = op.Evaluate(inputs, ScalarType.Float64, layout, rounding: ScalarType.Float32, forward: LinearRecurrenceOperator.Reference);
        foreach (var type in new[] { ScalarType.Float64, ScalarType.Float32 })
        {
            var actual = op.Evaluate(inputs, type, layout, rounding: ScalarType.Float32);
            foreach (var name in expected.Keys) SequenceOperator.Close(name, actual[name], expected[name], type);
        }
    }

    [Fact]
    public void The_reference_multiplies_the_state_by_the_decay_and_adds_the_input()
    {
        using var scope = NewDisposeScope();
        Tensor Of(params double[] numbers) => tensor(numbers, ScalarType.Float64).view(1, -1, 1);
        var (output, final) = LinearRecurrenceReference.Forward(
            new(Of(1, -3, 5), Of(Math.Log(0.5), Math.Log(0.25), 0)) { InitialState = tensor([8.0]).view(1, 1) });
        Assert.Equal([5, -1.75, 3.25], output.data<double>().Select(value => Math.Round(value, 12)));
        Assert.Equal(3.25, final.item<double>(), 12);
    }

    [Theory]
    [InlineData(1, 0), InlineData(2, 1), InlineData(3, 2), InlineData(16, 0), InlineData(70, 2), InlineData(71, 1)]
    public void Results_and_every_gradient_match_the_recurrence(int length, int variant)
    {
        using var scope = NewDisposeScope();
        Check(op.Inputs(2, length, variant), null);
        var without = op.Inputs(1, length, variant);
        without.Remove("initialState");
        Check(without, null);
    }

    [Fact]
    public void Documents_and_padding_match_the_recurrence()
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        Check(op.Inputs(6, 70), layout);
    }

    [Theory]
    [InlineData(1e-6), InlineData(50), InlineData(1000), InlineData(double.PositiveInfinity)]
    public void Strong_and_weak_decays_stay_finite_and_right(double decay)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"].add(Scalars.From(-1e-3)) * decay;
        Check(inputs, null);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient(ScalarType type) =>
        properties.PackedDocumentsEqualRowsOfTheirOwn(type, [5, 0, 64, 1, 2, 70, 0, 58], 5);

    [Fact]
    public void Padded_rows_equal_the_row_alone() => properties.PaddedRowsEqualTheRowAlone(ScalarType.Float32, [100, 0, 1, 64, 37], 100);

    [Theory]
    [InlineData(1), InlineData(16), InlineData(99)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at) => properties.SplitEqualsWhole(ScalarType.Float32, 150, at);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float64)]
    public void Steps_equal_the_whole_row(ScalarType type) => properties.StepsEqualTheWholeRow(type, 70);

    [Fact]
    public void The_back_end_can_be_selected_and_others_are_refused()
    {
        using var scope = NewDisposeScope();
        var x = zeros([1, 2, 3]);
        Assert.Equal(KernelBackend.LibTorch, LinearRecurrence.BackendFor(x));
        using (OperatorOptions.Use(new() { LinearRecurrenceBackend = KernelBackend.Reference }))
            Assert.Equal(KernelBackend.Reference, LinearRecurrence.BackendFor(x));
        using (OperatorOptions.Use(new() { LinearRecurrenceBackend = KernelBackend.Cpu }))
            Assert.Contains("LinearRecurrence is Cpu", Assert.Throws<ArgumentException>("x", () => LinearRecurrence.BackendFor(x)).Message);
    }

    [Fact]
    public void Tensors_that_do_not_fit_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var good = op.Leaves(op.Inputs(2, 6), ScalarType.Float32);
        foreach (var (name, tensor) in good)
        {
            var bad = name == "x" ? tensor.to(ScalarType.Int64) : tensor.unsqueeze(0);
            var error = Assert.ThrowsAny<ArgumentException>(() => op.Forward(new Tensors(good) { [name] = bad }));
            Assert.Contains(name, error.Message);
            Assert.Contains("expected", error.Message);
        }
        Assert.Throws<ArgumentException>("state", () => LinearRecurrence.Step(zeros([2, 5]), zeros([2, 6]), zeros([2, 6])));
    }
}
