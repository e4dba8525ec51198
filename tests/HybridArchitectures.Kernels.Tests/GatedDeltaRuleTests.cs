using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// The gated delta rule in chunks against the token-by-token recurrence in float64, and the recurrence against numbers worked out by hand.
/// </summary>
public class GatedDeltaRuleTests
{
    static readonly GatedDeltaRuleOperator op = new();

    static readonly SequenceProperties properties = new(op);

    static void Check(Tensors inputs, SequenceLayout? layout, int chunk)
    {
        var expected = op.Evaluate(inputs, ScalarType.Float64, layout, rounding: ScalarType.Float32, forward: GatedDeltaRuleOperator.Reference);
        foreach (var type in new[] { ScalarType.Float64, ScalarType.Float32 })
        {
            var actual = op.Evaluate(inputs, type, layout, rounding: ScalarType.Float32,
                forward: (i, at) => GatedDeltaRuleOperator.Forward(i, at, chunk));
            foreach (var name in expected.Keys) SequenceOperator.Close(name, actual[name], expected[name], type);
        }
    }

    [Fact]
    public void The_reference_is_the_recurrence()
    {
        using var scope = NewDisposeScope();
        // one key of length 1: the state is S = 1/2 (2) = 1, of the value 5 the token lacks 4, half of which is written: 3; the query of 2 reads 6
        Tensor One(double number) => tensor([number], ScalarType.Float64).view(1, 1, 1, 1);
        var (output, final) = GatedDeltaRuleReference.Forward(
            new(One(2), One(1), One(5), One(Math.Log(0.5)).squeeze(-1), One(0.5).squeeze(-1)) { InitialState = One(2) });
        Assert.Equal((6, 3), (output.item<double>(), final.item<double>()));
    }

    [Theory]
    [InlineData(1, 64, 0), InlineData(7, 4, 1), InlineData(64, 64, 2), InlineData(70, 16, 0), InlineData(65, 64, 3), InlineData(130, 64, 0)]
    public void Results_and_every_gradient_match_the_recurrence(int length, int chunk, int variant)
    {
        using var scope = NewDisposeScope();
        Check(op.Inputs(2, length, variant), null, chunk);
        var without = op.Inputs(1, length, variant);
        without.Remove("initialState");
        Check(without, null, chunk);
    }

    [Theory]
    [InlineData(8), InlineData(32)]
    public void Documents_and_pads_match_the_recurrence(int chunk)
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        Check(op.Inputs(6, 70), layout, chunk);
    }

    [Theory]
    [InlineData(1e-6, 1), InlineData(50, 1), InlineData(1000, 1), InlineData(1, 0), InlineData(0, 1)]
    public void Strong_and_weak_decay_and_full_strength_stay_finite_and_right(double decay, double strength)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"] * decay;
        inputs["strength"] = full_like(inputs["strength"], strength);
        Check(inputs, null, 64);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Packed_documents_equal_rows_of_their_own_forward_and_in_every_gradient(ScalarType type) =>
        properties.PackedDocumentsEqualRowsOfTheirOwn(type, [5, 0, 64, 1, 2, 70, 0, 58], 5);

    [Fact]
    public void Padded_rows_equal_the_row_alone() => properties.PaddedRowsEqualTheRowAlone(ScalarType.Float32, [100, 0, 1, 64, 37], 100);

    [Theory]
    [InlineData(1), InlineData(64), InlineData(99)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at) => properties.SplitEqualsWhole(ScalarType.Float32, 150, at);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float64)]
    public void Steps_equal_the_whole_row(ScalarType type) => properties.StepsEqualTheWholeRow(type, 70);

    [Fact]
    public void Bfloat16_errs_at_most_twice_as_much_as_the_recurrence_with_float32_sums()
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(2, 100);
        var exact = op.Evaluate(inputs, ScalarType.Float64, rounding: ScalarType.BFloat16, forward: GatedDeltaRuleOperator.Reference);
        var (ours, recurrence) = (op.Evaluate(inputs, ScalarType.BFloat16),
            op.Evaluate(inputs, ScalarType.BFloat16, forward: GatedDeltaRuleOperator.Reference));
        foreach (var name in exact.Keys)
        {
            double allowed = Math.Max(2 * SequenceOperator.Error(recurrence[name], exact[name]), SequenceOperator.Tolerance),
                error = SequenceOperator.Error(ours[name], exact[name]);
            Assert.True(error <= allowed, $"{name}: error {error:g3}, allowed {allowed:g3}");
        }
    }

    [Fact]
    public void The_back_end_is_visible_and_can_be_forced()
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 5);
        Assert.Equal(KernelBackend.LibTorch, GatedDeltaRule.BackendFor(inputs["value"]));
        using (OperatorOptions.Use(new() { GatedDeltaRuleBackend = KernelBackend.Cpu }))
            Assert.Contains("expected Auto, Cuda, LibTorch or Reference", Assert.Throws<ArgumentException>(() => op.Forward(inputs)).Message);
        using (OperatorOptions.Use(new() { GatedDeltaRuleBackend = KernelBackend.Reference }))
            Assert.Equal(KernelBackend.Reference, GatedDeltaRule.BackendFor(inputs["value"]));
    }

    [Fact]
    public void Tensors_that_do_not_fit_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var good = op.Leaves(op.Inputs(2, 6), ScalarType.Float32);
        foreach (var (name, tensor) in good)
        {
            Tensor[] wrong = name == "value" ? [tensor.to(ScalarType.Int64), tensor.select(1, 0)]
                : [cat([tensor, tensor], 0), tensor.unsqueeze(0), tensor.to(ScalarType.Float64), tensor.to(ScalarType.Int64),
                    tensor.reshape(-1).narrow(0, 0, 0)];
            foreach (var bad in wrong)
            {
                var error = Assert.ThrowsAny<ArgumentException>(() => op.Forward(new Tensors(good) { [name] = bad }));
                Assert.Contains(name, error.Message);
                Assert.Contains("expected", error.Message);
            }
        }
        Assert.Contains("3 groups", Assert.Throws<ArgumentException>(
            "key", () => op.Forward(new Tensors(good) { ["key"] = zeros([2, 6, 3, 8]) })).Message);
        Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => GatedDeltaRuleOperator.Forward(good, null, 48));
        using var layout = SequenceLayout.Padded([3, 4], 7);
        Assert.Throws<ArgumentException>("layout", () => op.Forward(good, layout));
        using var noGrad = no_grad();
        var one = op.Timed.ToDictionary(name => name, name => good[name].select(1, 0));
        var state = good["initialState"].detach().clone();
        Assert.Throws<ArgumentException>("state", () => op.Step(state.narrow(0, 0, 1), one));
        Assert.Throws<ArgumentException>("state", () => op.Step(good["initialState"], one));
    }
}
