using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Sorts tokens by the experts that they visit, and adds up what comes back. Each token makes the same number of visits. Both directions only gather
/// rows, also for gradients, where libtorch adds rows to zeros one by one.
/// </summary>
/// <param name="Order">
/// The visits in the order of experts, shape (visits), int64. Visit number token x choices + choice is that of a token to one of its experts.
/// </param>
/// <param name="Inverse">The place of each visit in that order, shape (visits), int64.</param>
/// <param name="Source">The token of each visit in that order, shape (visits), int64.</param>
/// <param name="Choices">The number of visits of a token.</param>
sealed record ExpertRows(Tensor Order, Tensor Inverse, Tensor Source, long Choices) : ISavedTensors<ExpertRows>
{
    public ExpertRows Map(Func<Tensor?, Tensor?> replace) =>
        new(replace(Order)!, replace(Inverse)!, replace(Source)!, Choices);

    /// <summary>Returns the rows (visits, width) of the tokens (tokens, width), expert by expert.</summary>
    public Tensor Spread(Tensor tokens) => Autograd.Apply<ExpertRows>([tokens], _ => ([tokens.index_select(0, Source)], this),
        static (context, rows) => [rows.Sum(context.Gradients[0]!)])[0];

    /// <summary>Returns the sums (tokens, width) over the visits (visits, width) of each token.</summary>
    public Tensor Combine(Tensor visits) => Autograd.Apply<ExpertRows>([visits], _ => ([Sum(visits)], this),
        static (context, rows) => [context.Gradients[0]!.index_select(0, rows.Source)])[0];

    /// <summary>Returns the rows (visits, width) of the tokens (tokens, width), each times the weight of the visit.</summary>
    /// <param name="tokens">(tokens, width).</param>
    /// <param name="weights">(tokens, choices), of the same dtype.</param>
    public Tensor Spread(Tensor tokens, Tensor weights) => !ExpertRowsCuda.Serves(tokens, weights) ? Spread(tokens) * OfVisits(weights)
        : Autograd.Apply<WeightedRows>([tokens, weights], _ => ([ExpertRowsCuda.Spread(Order, Choices, tokens, weights)], new(this, tokens, weights)),
            static (context, saved) =>
            {
                var rows = saved.Rows;
                var (sums, products) = ExpertRowsCuda.Combine(rows.Inverse, rows.Choices, context.Gradients[0]!.to(saved.Values.dtype),
                    saved.Weights, context.Needs(1) ? saved.Values : null, context.Needs(0));
                return [sums, products];
            })[0];

    /// <summary>Returns the sums (tokens, width) over the visits (visits, width) of each token, each times its weight.</summary>
    /// <param name="visits">(visits, width).</param>
    /// <param name="weights">(tokens, choices), of the same dtype.</param>
    public Tensor Combine(Tensor visits, Tensor weights) => !ExpertRowsCuda.Serves(visits, weights) ? Combine(visits * OfVisits(weights))
        : Autograd.Apply<WeightedRows>([visits, weights], _ => ([ExpertRowsCuda.Combine(Inverse, Choices, visits, weights, null, true).Sums!],
            new(this, visits, weights)), static (context, saved) =>
            {
                var (rows, gradient) = (saved.Rows, context.Gradients[0]!.to(saved.Values.dtype));
                return [context.Needs(0) ? ExpertRowsCuda.Spread(rows.Order, rows.Choices, gradient, saved.Weights) : null,
                    context.Needs(1) ? ExpertRowsCuda.Combine(rows.Inverse, rows.Choices, saved.Values, saved.Weights, gradient, false).Products
                        : null];
            })[0];

    // (visits, 1), expert by expert
    Tensor OfVisits(Tensor weights) => weights.flatten().index_select(0, Order).unsqueeze(-1);

    Tensor Sum(Tensor visits)
    {
        var restored = visits.index_select(0, Inverse);
        return Choices == 1 ? restored : restored.view(-1, Choices, visits.size(1)).sum(1);
    }

    sealed record WeightedRows(ExpertRows Rows, Tensor Values, Tensor Weights) : ISavedTensors<WeightedRows>
    {
        public WeightedRows Map(Func<Tensor?, Tensor?> replace) => new(Rows.Map(replace), replace(Values)!, replace(Weights)!);
    }
}
