using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the generalized delta rule, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.GeneralizedDeltaRule.Forward"/> and <see cref="Operators.GeneralizedDeltaRule.Step"/>.
/// </summary>
sealed record GeneralizedDeltaInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay, Tensor Removal, Tensor Rate)
    : KeyedStateInputs(Query, Key, Value, Decay)
{
    /// <summary>Gets a number that no decay is below; null if there is none.</summary>
    public double? MinDecay { get; init; }

    /// <summary>Returns the inputs of a step as rows of one token.</summary>
    public GeneralizedDeltaInputs AsRows(Tensor state) =>
        new(Query.unsqueeze(1), Key.unsqueeze(1), Value.unsqueeze(1), Decay.unsqueeze(1), Removal.unsqueeze(1), Rate.unsqueeze(1))
        {
            InitialState = state,
        };

    protected override void CheckTokens(string outerShape, ReadOnlySpan<long> outer) =>
        CheckKeyed(outerShape, outer, (Key, "key"), (Query, "query"), (Decay, "decay"), (Removal, "removal"), (Rate, "rate"));
}
