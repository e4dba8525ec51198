using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the state-space dual as a recurrence, token by token, with libtorch's gradients. The arguments are those of
/// <see cref="Operators.StateSpaceDual.Forward"/>.
/// </summary>
static class StateSpaceDualReference
{
    public static (Tensor Output, Tensor FinalState) Forward(
        Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? timeStepBias,
        bool softplus, (double Minimum, double Maximum)? timeStepLimit, Tensor? initialState, SequenceLayout? layout)
    {
        using var scope = NewDisposeScope();
        var type = SequenceChecks.StateType(x);
        long heads = x.size(2), headSize = x.size(3), stateSize = b.size(3);
        Tensor Clean(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout);
        var inputs = Clean(x);
        var delta = SequenceMasks.TimeStep(timeStep.to(type), timeStepBias?.to(type), softplus, timeStepLimit, layout);

        var decays = (delta * a.to(type)).exp().unsqueeze(-1).unsqueeze(-1).unbind(1);                  // each (B, H, 1, 1)
        var xs = (inputs * delta.unsqueeze(-1)).unsqueeze(-1).unbind(1);                                // each (B, H, P, 1)
        var bs = SequenceMasks.Spread(Clean(b), heads).unsqueeze(-2).unbind(1);                         // each (B, H, 1, N)
        var cs = SequenceMasks.Spread(Clean(c), heads).unsqueeze(-2).unbind(1);
        var state = initialState ?? zeros([x.size(0), heads, headSize, stateSize], type, x.device);     // (B, H, P, N)
        var outputs = new Tensor[xs.Length];
        for (int t = 0; t < xs.Length; t++)
        {
            state = (decays[t] * SequenceMasks.BeforeToken(state, layout, t)).add(xs[t] * bs[t], Scalars.One);
            outputs[t] = (state * cs[t]).sum(-1);
        }
        var output = stack(outputs, 1);
        if (skip is not null) output = output.add(inputs * skip.to(type).unsqueeze(-1), Scalars.One);
        output = SequenceMasks.WithoutPads(output, layout).to(x.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }
}
