using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the generalized delta rule as a recurrence, token by token, with libtorch's gradients. The arguments are those of
/// <see cref="Operators.GeneralizedDeltaRule.Forward"/>.
/// </summary>
static class GeneralizedDeltaRuleReference
{
    public static (Tensor Output, Tensor FinalState) Forward(GeneralizedDeltaInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (value, layout) = (inputs.Value, inputs.Layout);
        var type = SequenceChecks.StateType(value);
        // 0 at padding, where the state then does not change
        Tensor[] Tokens(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout).unbind(1);
        var (queries, keys) = (Tokens(inputs.Query.unsqueeze(-1)), Tokens(inputs.Key.unsqueeze(-1)));         // each (B, H, K, 1)
        var (removals, rates) = (Tokens(inputs.Removal.unsqueeze(-1)), Tokens(inputs.Rate.unsqueeze(-1)));
        var (decays, values) = (Tokens(inputs.Decay.unsqueeze(-1)), Tokens(value.unsqueeze(-2)));           // values (B, H, 1, V)
        var state = inputs.InitialState ?? zeros([inputs.Batch, inputs.Heads, inputs.KeySize, inputs.ValueSize], type, value.device);
        var outputs = new Tensor[values.Length];
        for (int t = 0; t < values.Length; t++)
        {
            var before = SequenceMasks.BeforeToken(state, layout, t);
            var removed = (removals[t] * before).sum(-2, keepdim: true);
            state = (decays[t].exp() * before - rates[t] * removals[t] * removed).add(keys[t] * values[t], Scalars.One);
            outputs[t] = (queries[t] * state).sum(-2);
        }
        var output = SequenceMasks.WithoutPads(stack(outputs, 1), layout).to(value.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }
}
