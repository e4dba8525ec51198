using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares linear attention in chunks with the recurrence, and the recurrence with numbers worked out by hand and with attention without a
/// softmax.
/// </summary>
public class LinearAttentionTests : RecurrentOperatorTests
{
    static readonly LinearAttentionOperator op = new();

    protected override RecurrentOperator Operator => op;

    [Fact]
    public void The_reference_decays_each_row_of_the_state_and_adds_key_times_value()
    {
        using var scope = NewDisposeScope();
        Tensor Of(params double[] numbers) => tensor(numbers, ScalarType.Float64).view(1, 1, 1, -1);
        // the state (4, 8) becomes (2, 2), and (2, 2) + (1, -1) 3 = (5, -1); the query (1, 2) reads 3
        var (output, final) = LinearAttentionReference.Forward(
            new(Of(1, 2), Of(1, -1), Of(3), Of(Math.Log(0.5), Math.Log(0.25))) { InitialState = tensor([4.0, 8.0]).view(1, 1, 2, 1) });
        Assert.Equal(3, output.item<double>(), 12);
        Assert.Equal([5, -1], final.data<double>().Select(value => Math.Round(value, 12)));
    }

    [Fact]
    public void Without_decay_it_is_attention_without_a_softmax()
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(2, 33);
        inputs.Remove("initialState");
        inputs["decay"] = zeros_like(inputs["decay"]);
        var scores = einsum("blhk,bmhk->bhlm", inputs["query"], inputs["key"]).tril();
        var expected = einsum("bhlm,bmhv->blhv", scores, inputs["value"]);
        Assert.True((op.Forward(inputs).Output - expected).abs().max().item<double>() < 1e-11);
    }

    [Theory]
    [InlineData(1e-6), InlineData(50), InlineData(1000)]
    public void Strong_and_weak_decays_stay_finite_and_right(double decay)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"] * decay;
        Check(inputs, null, 16);
    }

    [Fact]
    public void The_chunk_size_is_a_power_of_two() => ChunkSizesAreRefusedUnlessTheyArePowersOfTwo();
}
