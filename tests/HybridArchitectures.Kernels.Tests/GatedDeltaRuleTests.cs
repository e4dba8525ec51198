using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares the gated delta rule in chunks with the recurrence, and the recurrence with numbers worked out by hand.
/// </summary>
public class GatedDeltaRuleTests : RecurrentOperatorTests
{
    static readonly GatedDeltaRuleOperator op = new();

    protected override RecurrentOperator Operator => op;

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
    [InlineData(64), InlineData(130)]
    public void Chunks_of_64_tokens_match_the_recurrence(int length)
    {
        using var scope = NewDisposeScope();
        Check(op.Inputs(2, length, 2), null, 64);
    }

    [Fact]
    public void The_chunk_size_is_a_power_of_two() => ChunkSizesAreRefusedUnlessTheyArePowersOfTwo();
}
