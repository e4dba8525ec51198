using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares the linear recurrence in chunks with the recurrence token by token, and the latter with numbers worked out by hand.
/// </summary>
public class LinearRecurrenceTests : RecurrentOperatorTests
{
    static readonly LinearRecurrenceOperator op = new();

    protected override RecurrentOperator Operator => op;

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
    [InlineData(1e-6), InlineData(50), InlineData(1000), InlineData(double.PositiveInfinity)]
    public void Strong_and_weak_decays_stay_finite_and_right(double decay)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"].add(Scalars.From(-1e-3)) * decay;
        Check(inputs, null, op.ChunkSize);
    }

    [Theory]
    [InlineData(2), InlineData(3)]
    public void Rows_with_one_token_or_two_per_chunk_match_the_recurrence(int length)
    {
        using var scope = NewDisposeScope();
        Check(op.Inputs(2, length, 2), null, op.ChunkSize);
    }
}
