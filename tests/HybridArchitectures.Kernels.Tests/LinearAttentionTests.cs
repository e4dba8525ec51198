using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Linear attention in chunks against the recurrence in float64, and the recurrence against numbers worked out by hand and against attention with
/// decayed scores.
/// </summary>
public class LinearAttentionTests
{
    static readonly LinearAttentionOperator op = new();

    static readonly SequenceProperties properties = new(op);

    static void Check(Tensors inputs, SequenceLayout? layout, int chunk)
    {
        var expected = op.Evaluate(inputs, ScalarType.Float64, layout, rounding: ScalarType.Float32, forward: LinearAttentionOperator.Reference);
        foreach (var type in new[] { ScalarType.Float64, ScalarType.Float32 })
        {
            var actual = op.Evaluate(inputs, type, layout, rounding: ScalarType.Float32,
                forward: (i, at) => LinearAttentionOperator.Forward(i, at, chunk));
            foreach (var name in expected.Keys) SequenceOperator.Close(name, actual[name], expected[name], type);
        }
    }

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
    [InlineData(1, 16, 0), InlineData(7, 4, 1), InlineData(16, 16, 2), InlineData(70, 16, 0), InlineData(65, 64, 2), InlineData(33, 8, 1)]
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
    [InlineData(1e-6), InlineData(50), InlineData(1000)]
    public void Strong_and_weak_decays_stay_finite_and_right(double decay)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(1, 70);
        inputs["decay"] = inputs["decay"] * decay;
        Check(inputs, null, 16);
    }

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.Float64)]
    public void Packed_documents_equal_separate_rows_forward_and_in_every_gradient(ScalarType type) =>
        properties.PackedDocumentsEqualRowsOfTheirOwn(type, [5, 0, 64, 1, 2, 70, 0, 58], 5);

    [Fact]
    public void Padded_rows_equal_the_row_alone() => properties.PaddedRowsEqualTheRowAlone(ScalarType.Float32, [100, 0, 1, 64, 37], 100);

    [Theory]
    [InlineData(1), InlineData(99)]
    public void A_row_split_anywhere_with_its_state_carried_equals_the_whole(int at) => properties.SplitEqualsWhole(ScalarType.Float32, 150, at);

    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float64)]
    public void Steps_equal_the_whole_row(ScalarType type) => properties.StepsEqualTheWholeRow(type, 70);

    [Fact]
    public void Tensors_that_do_not_fit_and_other_back_ends_are_refused_by_name()
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
        Assert.Throws<ArgumentOutOfRangeException>("chunkSize", () => LinearAttentionOperator.Forward(good, null, 48));
        using var cpu = OperatorOptions.Use(new() { LinearAttentionBackend = KernelBackend.Cpu });
        Assert.Contains("LinearAttention is Cpu", Assert.Throws<ArgumentException>("value", () => op.Forward(good)).Message);
    }
}
