using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the linear recurrence token by token, with libtorch's gradients. The arguments are those of
/// <see cref="Operators.LinearRecurrence.Forward"/>.
/// </summary>
static class LinearRecurrenceReference
{
    public static (Tensor Output, Tensor FinalState) Forward(LinearRecurrenceInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (x, layout) = (inputs.X, inputs.Layout);
        var type = SequenceChecks.StateType(x);
        // 0 at padding, so the state does not change
        Tensor[] Tokens(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout).unbind(1);
        var (written, decays) = (Tokens(x), Tokens(inputs.Decay));
        var state = inputs.InitialState ?? zeros([x.size(0), x.size(2)], type, x.device);
        var outputs = new Tensor[written.Length];
        for (int t = 0; t < outputs.Length; t++)
            outputs[t] = state = (decays[t].exp() * SequenceMasks.BeforeToken(state, layout, t)).add(written[t], Scalars.One);
        var output = SequenceMasks.WithoutPads(stack(outputs, 1), layout).to(x.dtype);
        return (output.MoveToOuterDisposeScope(), state.alias().MoveToOuterDisposeScope());
    }
}
