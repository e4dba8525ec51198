using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Checks the promises of every operator along a sequence that is computed in chunks. Results and gradients are compared with those of the recurrence
/// in float64.
/// </summary>
public abstract class RecurrentOperatorTests
{
    protected abstract RecurrentOperator Operator { get; }

    SequenceProperties Properties => new(Operator);

    [Theory]
    [InlineData(1, 16, 0), InlineData(7, 4, 1), InlineData(16, 16, 2), InlineData(70, 16, 0), InlineData(65, 64, 3), InlineData(33, 8, 4)]
    public void Results_and_every_gradient_match_the_recurrence(int length, int chunk, int variant)
    {
        using var scope = NewDisposeScope();
        var inputs = Operator.Inputs(2, length, variant % Operator.Variants);
        Check(inputs, null, chunk);
        inputs.Remove("initialState");
        Check(inputs, null, chunk);
    }

    [Theory]
    [InlineData(8), InlineData(32)]
    public void Documents_and_padding_match_the_recurrence(int chunk)
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        Check(Operator.Inputs(6, 70), layout, chunk);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient(ScalarType type) =>
        Properties.PackedDocumentsEqualSeparateRows(type, [5, 0, 64, 1, 2, 70, 0, 58], 5);

    [Fact]
    public void Padded_rows_equal_the_row_alone() => Properties.PaddedRowsEqualTheRowAlone(ScalarType.Float32, [100, 0, 1, 64, 37], 100);

    [Theory]
    [InlineData(1), InlineData(16), InlineData(64), InlineData(99)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at) => Properties.SplitEqualsWhole(ScalarType.Float32, 150, at);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float64)]
    public void Steps_equal_the_whole_row(ScalarType type) => Properties.StepsEqualTheWholeRow(type, 70);

    [Fact]
    public void Bfloat16_errs_at_most_twice_as_much_as_the_recurrence_with_float32_sums()
    {
        using var scope = NewDisposeScope();
        var inputs = Operator.Inputs(2, 100);
        var exact = Operator.Evaluate(inputs, ScalarType.Float64, rounding: ScalarType.BFloat16, forward: Operator.Reference);
        var actual = Operator.Evaluate(inputs, ScalarType.BFloat16);
        var recurrence = Operator.Evaluate(inputs, ScalarType.BFloat16, forward: Operator.Reference);
        foreach (var name in exact.Keys)
        {
            double allowed = Math.Max(2 * SequenceOperator.Error(recurrence[name], exact[name]), SequenceOperator.Tolerance),
                error = SequenceOperator.Error(actual[name], exact[name]);
            Assert.True(error <= allowed, $"{name}: error {error:g3}, allowed {allowed:g3}");
        }
    }

    [Fact]
    public void The_back_end_is_visible_and_can_be_selected_and_others_are_refused()
    {
        using var scope = NewDisposeScope();
        var inputs = Operator.Inputs(1, 5);
        var leading = inputs[Operator.Leading];
        Assert.Equal(KernelBackend.LibTorch, Operator.BackendFor(leading));
        using (OperatorOptions.Use(Operator.Select(KernelBackend.Reference)))
            Assert.Equal(KernelBackend.Reference, Operator.BackendFor(leading));
        using (OperatorOptions.Use(Operator.Select(KernelBackend.Cpu)))
        {
            var error = Assert.Throws<ArgumentException>(Operator.Leading, () => Operator.Forward(inputs));
            Assert.Contains(" is Cpu; expected Auto, ", error.Message);
            Assert.Contains("LibTorch or Reference", error.Message);
        }
    }

    [Fact]
    public void Tensors_that_do_not_fit_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var good = Operator.Leaves(Operator.Inputs(2, 6), ScalarType.Float32);
        foreach (var (name, tensor) in good)
        {
            Tensor[] wrong = name == Operator.Leading ? [tensor.to(ScalarType.Int64), tensor.select(1, 0)]
                : [cat([tensor, tensor], 0), tensor.unsqueeze(0), tensor.select(-1, 0), tensor.to(ScalarType.Float64), tensor.to(ScalarType.Int64),
                    tensor.reshape(-1).narrow(0, 0, 0)];
            foreach (var bad in wrong)
            {
                var error = Assert.ThrowsAny<ArgumentException>(() => Operator.Forward(new Tensors(good) { [name] = bad }));
                Assert.Contains(name, error.Message);
                Assert.Contains("expected", error.Message);
            }
        }
        using var layout = SequenceLayout.Padded([3, 4], 7);
        Assert.Throws<ArgumentException>("layout", () => Operator.Forward(good, layout));
        using var noGrad = no_grad();
        var one = Operator.Timed.ToDictionary(name => name, name => good[name].select(1, 0));
        var state = good["initialState"].detach().clone();
        Assert.Throws<ArgumentException>("state", () => Operator.Step(state.narrow(0, 0, 1), one));
        Assert.Throws<ArgumentException>("state", () => Operator.Step(good["initialState"], one));
    }

    /// <summary>Compares results and gradients in float64 and float32 with those of the recurrence in float64.</summary>
    protected void Check(Tensors inputs, SequenceLayout? layout, int chunk)
    {
        var expected = Operator.Evaluate(inputs, ScalarType.Float64, layout, rounding: ScalarType.Float32, forward: Operator.Reference);
        foreach (var type in new[] { ScalarType.Float64, ScalarType.Float32 })
        {
            var actual = Operator.Evaluate(inputs, type, layout, rounding: ScalarType.Float32, forward: (i, at) => Operator.Forward(i, at, chunk));
            foreach (var name in expected.Keys) SequenceOperator.Close(name, actual[name], expected[name], type);
        }
    }

    protected void ChunkSizesAreRefusedUnlessTheyArePowersOfTwo()
    {
        using var scope = NewDisposeScope();
        foreach (int size in new[] { -1, 0, 48 })
            Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => Operator.Forward(Operator.Inputs(1, 3), null, size));
    }
}
