using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of linear attention, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.LinearAttention.Forward"/> and <see cref="Operators.LinearAttention.Step"/>.
/// </summary>
sealed record LinearAttentionInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay) : KeyedStateInputs(Query, Key, Value, Decay)
{
    /// <summary>Returns the inputs of a step as rows of one token.</summary>
    public LinearAttentionInputs AsRows(Tensor state) =>
        new(Query.unsqueeze(1), Key.unsqueeze(1), Value.unsqueeze(1), Decay.unsqueeze(1)) { InitialState = state };

    /// <summary>Returns the inputs as those of the delta rule without corrections, which has the same kernels.</summary>
    public DeltaRuleInputs AsDeltaRule() => new(Query, Key, Value, Decay, null)
    {
        InitialState = InitialState, Layout = Layout, ChunkSize = ChunkSize, DecaysChannels = true,
    };

    protected override void CheckTokens(string outerShape, ReadOnlySpan<long> outer) =>
        CheckKeyed(outerShape, outer, (Key, "key"), (Query, "query"), (Decay, "decay"));
}
