using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares the generalized delta rule in chunks with the recurrence, and the recurrence with numbers worked out by hand and with the
/// gated delta rule.
/// </summary>
public class GeneralizedDeltaRuleTests : RecurrentOperatorTests
{
    static readonly GeneralizedDeltaRuleOperator op = new();

    protected override RecurrentOperator Operator => op;

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
    [InlineData(1e-6, 1), InlineData(50, 1), InlineData(1000, 1), InlineData(1, 0), InlineData(0, 1)]
    public void Strong_and_weak_decays_and_full_removal_stay_finite_and_right(double decay, double rate)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"] * decay;
        inputs["rate"] = full_like(inputs["rate"], rate);
        Check(inputs, null, 16);
    }

    [Fact]
    public void The_chunk_size_is_a_power_of_two() => ChunkSizesAreRefusedUnlessTheyArePowersOfTwo();

    [Fact]
    public void A_minimum_of_decays_is_a_number_at_most_0()
    {
        using var scope = NewDisposeScope();
        var i = op.Inputs(1, 3);
        foreach (double wrong in new[] { 0.1, double.NaN, double.NegativeInfinity })
            Assert.Throws<ArgumentOutOfRangeException>("minDecay", () => GeneralizedDeltaRule.Forward(
                i["query"], i["key"], i["value"], i["decay"], i["removal"], i["rate"], minDecay: wrong));
    }
}
