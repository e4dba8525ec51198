using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// The generalized delta rule in chunks against the recurrence in float64, and the recurrence against numbers worked out by hand and against the
/// gated delta rule.
/// </summary>
public class GeneralizedDeltaRuleTests
{
    static readonly GeneralizedDeltaRuleOperator op = new();

    static readonly SequenceProperties properties = new(op);

    static (Tensor, Tensor) Reference(Tensors i, SequenceLayout? layout) =>
        GeneralizedDeltaRuleReference.Forward(new(i["query"], i["key"], i["value"], i["decay"], i["removal"], i["rate"])
        {
            InitialState = i.GetValueOrDefault("initialState"), Layout = layout,
        });

    static void Check(Tensors inputs, SequenceLayout? layout, int chunk)
    {
        var expected = op.Evaluate(inputs, ScalarType.Float64, layout, rounding: ScalarType.Float32, forward: Reference);
        foreach (var type in new[] { ScalarType.Float64, ScalarType.Float32 })
        {
            var actual = op.Evaluate(inputs, type, layout, rounding: ScalarType.Float32,
                forward: (i, at) => GeneralizedDeltaRuleOperator.Forward(i, at, chunk));
            foreach (var name in expected.Keys) SequenceOperator.Close(name, actual[name], expected[name], type);
        }
    }

    [Fact]
    public void The_reference_removes_and_adds_by_separate_keys()
    {
        using var scope = NewDisposeScope();
        Tensor Of(params double[] numbers) => tensor(numbers, ScalarType.Float64).view(1, 1, 1, -1);
        // the removal (0.6, 0.8) reads 0.6 x 4 + 0.8 x 8 = 8.8 of the state (4, 8), which decays to (2, 2) and loses (0.5 x 0.6, 0.25 x 0.8) x 8.8;
        // the key (0, 3) adds (0, 18)
        var (output, final) = GeneralizedDeltaRuleReference.Forward(
            new(Of(1, 1), Of(0, 3), Of(6), Of(Math.Log(0.5), Math.Log(0.25)), Of(0.6, 0.8), Of(0.5, 0.25))
            {
                InitialState = tensor([4.0, 8.0], ScalarType.Float64).view(1, 1, 2, 1),
            });
        Assert.Equal([-0.64, 18.24], final.data<double>().Select(value => Math.Round(value, 12)));
        Assert.Equal(17.6, output.item<double>(), 12);
    }

    [Fact]
    public void It_is_the_gated_delta_rule_for_equal_decays_and_keys()
    {
        using var scope = NewDisposeScope();
        var i = op.Inputs(2, 40);
        var (decay, strength) = (i["decay"].select(-1, 0), i["rate"].select(-1, 0));
        var spread = i["decay"].narrow(-1, 0, 1).expand_as(i["decay"]).contiguous();
        // S = d S - strength k (d k^T S) + strength k v^T
        var (output, final) = GeneralizedDeltaRule.Forward(i["query"], i["removal"] * strength.unsqueeze(-1), i["value"], spread, i["removal"],
            strength.unsqueeze(-1) * spread.exp(), i["initialState"]);
        var (same, state) = GatedDeltaRule.Forward(i["query"], i["removal"], i["value"], decay, strength, i["initialState"]);
        Assert.True((output - same).abs().max().item<double>() < 1e-12);
        Assert.True((final - state).abs().max().item<double>() < 1e-12);
    }

    [Theory]
    [InlineData(1, 16, 0), InlineData(7, 4, 1), InlineData(16, 16, 2), InlineData(70, 16, 0), InlineData(65, 64, 3), InlineData(33, 8, 0)]
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
    public void Documents_and_padding_match_the_recurrence(int chunk)
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.Packed([[1, 31, 1, 0, 2, 30], [70], [], [32, 32, 6], [0, 3], [16, 17, 1]], 70);
        Check(op.Inputs(6, 70), layout, chunk);
    }

    [Theory]
    [InlineData(1e-6, 1), InlineData(50, 1), InlineData(1000, 1), InlineData(1, 0), InlineData(0, 1)]
    public void Strong_and_weak_decays_and_full_removal_stay_finite_and_right(double decay, double rate)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"] * decay;
        inputs["rate"] = full_like(inputs["rate"], rate);
        Check(inputs, null, 16);
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
    public void Tensors_that_do_not_fit_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var good = op.Leaves(op.Inputs(2, 6), ScalarType.Float32);
        foreach (var (name, tensor) in good)
        {
            var bad = name == "value" ? tensor.to(ScalarType.Int64) : tensor.unsqueeze(0);
            var error = Assert.ThrowsAny<ArgumentException>(() => op.Forward(new Tensors(good) { [name] = bad }));
            Assert.Contains(name, error.Message);
            Assert.Contains("expected", error.Message);
        }
        Assert.Throws<ArgumentException>("decay", () => op.Forward(new Tensors(good) { ["decay"] = good["decay"].select(3, 0) }));
        Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => GeneralizedDeltaRuleOperator.Forward(good, null, 48));
    }
}
