using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares the gated delta rule with a decay per key channel in chunks with the recurrence, and the recurrence with numbers worked out by
/// hand and with the rule with one decay per head.
/// </summary>
public class ChannelDeltaRuleTests : RecurrentOperatorTests
{
    static readonly ChannelDeltaRuleOperator op = new();

    protected override RecurrentOperator Operator => op;

    [Fact]
    public void The_reference_decays_each_row_of_the_state_separately()
    {
        using var scope = NewDisposeScope();
        Tensor Of(params double[] numbers) => tensor(numbers, ScalarType.Float64).view(1, 1, 1, -1);
        // the state (4, 8) becomes (2, 2); the key (1, 0) reads 2 of the value 6, and writes half of the other 4; the query (1, 1) reads 4 + 2
        var (output, final) = ChannelDeltaRuleReference.Forward(
            new(Of(1, 1), Of(1, 0), Of(6), Of(Math.Log(0.5), Math.Log(0.25)), Of(0.5).squeeze(-1))
            {
                InitialState = tensor([4.0, 8.0], ScalarType.Float64).view(1, 1, 2, 1), DecaysChannels = true,
            });
        Assert.Equal(6, output.item<double>(), 12);
        Assert.Equal([4, 2], final.data<double>().Select(value => Math.Round(value, 12)));
    }

    [Fact]
    public void Equal_decays_of_all_channels_are_one_decay_of_the_head()
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(2, 40);
        var one = inputs["decay"].narrow(-1, 0, 1);
        inputs["decay"] = one.expand_as(inputs["decay"]).contiguous();
        var (output, final) = op.Forward(inputs);
        var (same, state) = GatedDeltaRule.Forward(inputs["query"], inputs["key"], inputs["value"], one.squeeze(-1), inputs["strength"],
            inputs["initialState"]);
        Assert.True((output - same).abs().max().item<double>() < 1e-12);
        Assert.True((final - state).abs().max().item<double>() < 1e-12);
    }

    [Theory]
    [InlineData(1e-6, 1), InlineData(50, 1), InlineData(1000, 1), InlineData(1, 0), InlineData(0, 1), InlineData(1, 2)]
    public void Strong_and_weak_decays_and_full_strength_stay_finite_and_right(double decay, double strength)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"] * decay;
        inputs["strength"] = full_like(inputs["strength"], strength);
        Check(inputs, null, 16);
    }

    [Fact]
    public void The_chunk_size_is_a_power_of_two() => ChunkSizesAreRefusedUnlessTheyArePowersOfTwo();
}
