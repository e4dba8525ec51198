using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the state-space dual as a recurrence, token by token, with libtorch's gradients. The arguments are those of
/// <see cref="Operators.StateSpaceDual.Forward"/>.
/// </summary>
static class StateSpaceDualReference
{
    public static (Tensor Output, Tensor FinalState) Forward(StateSpaceDualInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (type, layout) = (SequenceChecks.StateType(inputs.X), inputs.Layout);
        long heads = inputs.Heads;
        Tensor Clean(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout);
        var x = Clean(inputs.X);
        var dt = SequenceMasks.TimeStep(inputs.Dt.to(type), inputs.DtBias?.to(type), inputs.Softplus, inputs.DtLimit, layout);

        var decays = (dt * inputs.A.to(type)).exp().unsqueeze(-1).unsqueeze(-1).unbind(1);              // each (batch, heads, 1, 1)
        var xs = (x * dt.unsqueeze(-1)).unsqueeze(-1).unbind(1);                                        // each (batch, heads, head size, 1)
        var Bs = SequenceMasks.Spread(Clean(inputs.B), heads).unsqueeze(-2).unbind(1);                  // each (batch, heads, 1, states)
        var Cs = SequenceMasks.Spread(Clean(inputs.C), heads).unsqueeze(-2).unbind(1);
        var state = inputs.InitialState ?? zeros([inputs.Batch, heads, inputs.HeadSize, inputs.StateSize], type, x.device);
        var outputs = new Tensor[xs.Length];
        for (int t = 0; t < xs.Length; t++)
        {
            state = (decays[t] * SequenceMasks.BeforeToken(state, layout, t)).add(xs[t] * Bs[t], Scalars.One);
            outputs[t] = (state * Cs[t]).sum(-1);
        }
        var output = stack(outputs, 1);
        if (inputs.D is { } D) output = output.add(x * D.to(type).unsqueeze(-1), Scalars.One);
        output = SequenceMasks.WithoutPads(output, layout).to(inputs.X.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }
}
