using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Composed;

public class PiecewiseAttentionTests
{
    static Tensor[] Inputs(int batch, int queries, int keys, int heads, int sets) =>
        [OperatorCheck.Normal(batch, queries, heads, 6), OperatorCheck.Normal(batch, keys, sets, 6), OperatorCheck.Normal(batch, keys, sets, 10),
            OperatorCheck.Normal(heads)];

    static AttentionInputs Given(IReadOnlyList<Tensor?> inputs, int? window, AttentionPositions? positions) =>
        new(inputs[0]!, inputs[1]!, inputs[2]!)
        {
            Scale = 0.4, Window = window, Sinks = 2, Positions = positions, Softcap = 1.5, SinkLogits = inputs[3],
        };

    static Tensor Formula(AttentionInputs inputs) => AttentionReference.Forward(
        inputs.Query, inputs.Key, inputs.Value, inputs.Scale, inputs.Window, inputs.Sinks, inputs.Positions, inputs.Softcap, inputs.SinkLogits);

    // 4,000 scores: several rows and heads at once; 300: one head of one row, a few queries
    [Theory]
    [InlineData(60, 60, null, 4000), InlineData(60, 60, 9, 300), InlineData(20, 75, null, 300), InlineData(20, 75, 30, 4000)]
    public void Parts_of_rows_heads_and_queries_match_the_float64_reference(int queries, int keys, int? window, long maxScores)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(21);
        OperatorCheck.MatchesReference(given => PiecewiseAttention.Apply(
            AttentionPlan.ForScores(given[0]!, given[1]!, window, 2, null, maxScores), Given(given, window, null), maxScores, Formula),
            given => Formula(Given(given, window, null)), Inputs(3, queries, keys, 6, 3));
    }

    [Theory]
    [InlineData(null), InlineData(7)]
    public void Packed_documents_with_padding_match_the_float64_reference(int? window)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(22);
        using var layout = SequenceLayout.Packed([[40, 1, 30], [75], [3, 20]], 75);
        var positions = AttentionPositions.FromLayout(layout);
        OperatorCheck.MatchesReference(given => PiecewiseAttention.Apply(
            AttentionPlan.ForScores(given[0]!, given[1]!, window, 2, positions, 500), Given(given, window, positions), 500, Formula),
            given => Formula(Given(given, window, positions)), Inputs(3, 75, 75, 4, 2));
    }

    [Fact]
    public void A_window_applies_to_explicit_positions_with_gaps()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(23);
        // three keys, but the first one is 500 tokens before the others
        var positions = new AttentionPositions(tensor(new long[] { 500, 501 }, [1, 2]), tensor(new long[] { 0, 500, 501 }, [1, 3]));
        var (query, key) = (OperatorCheck.Normal(1, 2, 2, 8), OperatorCheck.Normal(1, 3, 2, 8));
        OperatorCheck.Close(AttentionReference.Forward(query, key, key, window: 100, positions: positions),
            FusedAttention.Forward(query, key, key, window: 100, positions: positions), 1e-6, "the output");
    }

    [Fact]
    public void Memory_of_capped_scores_grows_linearly_with_length()
    {
        using var scope = NewDisposeScope();
        const int Length = 2048, MaxScores = 1 << 18;
        Tensor[] inputs = [.. Enumerable.Range(0, 3).Select(_ => zeros(1, Length, 1, 8).requires_grad_())];
        // one table of all scores takes 17 MB, of which the formula needs more than six at once for its gradient
        var grown = PeakMemory.Growth(() => Autograd.Backward(PiecewiseAttention.Apply(
            AttentionPlan.ForScores(inputs[0], inputs[1], null, 0, null, MaxScores),
            new(inputs[0], inputs[1], inputs[2]) { Scale = 1, Softcap = 20 }, MaxScores, Formula).sum()));
        Assert.InRange(grown, 0, 64L << 20);
        Assert.All(inputs, input => Assert.True(input.grad is not null));
    }

    [Fact]
    public void Many_scores_with_a_cap_are_computed_part_by_part()
    {
        using var scope = NewDisposeScope();
        var (few, many) = (zeros(1, 64, 2, 8), zeros(1, 2048, 2, 8));
        Assert.Equal(AttentionKernel.Math, FusedAttention.KernelFor(few, few, few, softcap: 20));
        Assert.Equal(AttentionKernel.Composed, FusedAttention.KernelFor(many, many, many, softcap: 20));
        Assert.Equal(AttentionKernel.Flash, FusedAttention.KernelFor(many, many, many));
    }
}
