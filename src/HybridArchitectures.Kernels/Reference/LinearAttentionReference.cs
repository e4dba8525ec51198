using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements linear attention with a decay per key channel token by token, with libtorch's gradients. The arguments are those of
/// <see cref="Operators.LinearAttention.Forward"/>.
/// </summary>
static class LinearAttentionReference
{
    public static (Tensor Output, Tensor FinalState) Forward(LinearAttentionInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (value, layout) = (inputs.Value, inputs.Layout);
        var type = SequenceChecks.StateType(value);
        Tensor[] Tokens(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout).unbind(1);
        var (queries, keys) = (Tokens(inputs.Query.unsqueeze(-1)), Tokens(inputs.Key.unsqueeze(-1)));         // each (B, H, K, 1)
        var (values, decays) = (Tokens(value.unsqueeze(-2)), Tokens(inputs.Decay.unsqueeze(-1)));             // (B, H, 1, V) and (B, H, K, 1)
        var state = inputs.InitialState ?? zeros([inputs.Batch, inputs.Heads, inputs.KeySize, inputs.ValueSize], type, value.device);
        var outputs = new Tensor[values.Length];
        for (int t = 0; t < values.Length; t++)
        {
            state = (decays[t].exp() * SequenceMasks.BeforeToken(state, layout, t)).add(keys[t] * values[t], Scalars.One);
            outputs[t] = (queries[t] * state).sum(-2);
        }
        var output = SequenceMasks.WithoutPads(stack(outputs, 1), layout).to(value.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }
}
