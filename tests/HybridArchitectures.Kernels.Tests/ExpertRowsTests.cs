using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class ExpertRowsTests
{
    [Theory]
    [InlineData(1), InlineData(2), InlineData(3)]
    public void Visits_are_sorted_and_summed_and_so_are_gradients(int choices)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        const int tokens = 7, width = 5;
        var order = randperm(tokens * choices, ScalarType.Int64);
        var source = order.div(Scalars.From(choices), RoundingMode.floor).to(ScalarType.Int64);
        var rows = new ExpertRows(order, order.argsort(), source, choices);
        // x y z of every visit, so that both directions have gradients
        OperatorCheck.MatchesReference(
            given => rows.Combine(rows.Spread(given[0]!) * given[1]!),
            given => zeros(tokens, width, ScalarType.Float64).index_add(0, source, given[0]!.index_select(0, source) * given[1]!, 1),
            [OperatorCheck.Normal(tokens, width), OperatorCheck.Normal(tokens * choices, width)]);
    }
}
