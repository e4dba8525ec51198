using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the gated delta rule with a decay per key channel as a recurrence, token by token, with libtorch's gradients. The arguments are those
/// of <see cref="Operators.ChannelDeltaRule.Forward"/>.
/// </summary>
static class ChannelDeltaRuleReference
{
    public static (Tensor Output, Tensor FinalState) Forward(DeltaRuleInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (value, layout) = (inputs.Value, inputs.Layout);
        var type = SequenceChecks.StateType(value);
        long heads = inputs.Heads;
        Tensor[] Tokens(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout).unbind(1);
        var queries = Tokens(SequenceMasks.Spread(inputs.Query, heads).unsqueeze(-1));                      // each (B, H, K, 1)
        var keys = Tokens(SequenceMasks.Spread(inputs.Key, heads).unsqueeze(-1));
        var values = Tokens(value.unsqueeze(-2));                                                    // each (B, H, 1, V)
        // 0 at padding, so the state does not change; (B, H, K, 1) and (B, H, 1, 1)
        var (decays, strengths) = (Tokens(inputs.Decay.unsqueeze(-1)), Tokens(inputs.Strength!.unsqueeze(-1).unsqueeze(-1)));
        var state = inputs.InitialState ?? zeros([inputs.Batch, heads, inputs.KeySize, inputs.ValueSize], type, value.device);
        var outputs = new Tensor[values.Length];
        for (int t = 0; t < values.Length; t++)
        {
            state = decays[t].exp() * SequenceMasks.BeforeToken(state, layout, t);
            var missing = values[t] - (keys[t] * state).sum(-2, keepdim: true);
            state = state.add(strengths[t] * keys[t] * missing, Scalars.One);
            outputs[t] = (queries[t] * state).sum(-2);
        }
        var output = SequenceMasks.WithoutPads(stack(outputs, 1), layout).to(value.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }
}
