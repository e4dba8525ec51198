using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the selective scan token by token, with libtorch's gradients. The arguments are those of <see cref="Operators.SelectiveScan.Forward"/>;
/// b and c have shape (B, L, G, N).
/// </summary>
static class SelectiveScanReference
{
    public static (Tensor Output, Tensor FinalState) Forward(Tensor x, Tensor timeStep, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? gate,
        Tensor? timeStepBias, bool softplus, Tensor? initialState, SequenceLayout? layout)
    {
        using var scope = NewDisposeScope();
        var type = SequenceChecks.StateType(x);
        long channels = x.size(2);
        Tensor Clean(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout);
        var inputs = Clean(x);
        var delta = SequenceMasks.TimeStep(timeStep.to(type), timeStepBias?.to(type), softplus, null, layout);
        var rate = a.to(type);

        var (xs, deltas) = (inputs.unbind(1), delta.unbind(1));                                        // each (B, D)
        var bs = SequenceMasks.Spread(Clean(b), b.size(2) == 1 ? 1 : channels).unbind(1);              // each (B, 1 or D, N)
        var cs = SequenceMasks.Spread(Clean(c), c.size(2) == 1 ? 1 : channels).unbind(1);
        var state = initialState ?? zeros([x.size(0), channels, a.size(1)], type, x.device);           // (B, D, N)
        var outputs = new Tensor[xs.Length];
        for (int t = 0; t < xs.Length; t++)
        {
            state = SequenceMasks.BeforeToken(state, layout, t);
            state = ((deltas[t].unsqueeze(-1) * rate).exp() * state).add((deltas[t] * xs[t]).unsqueeze(-1) * bs[t], Scalars.One);
            outputs[t] = (state * cs[t]).sum(-1);
        }
        var output = stack(outputs, 1);
        if (skip is not null) output = output.add(inputs * skip.to(type), Scalars.One);
        if (gate is not null) output = output * nn.functional.silu(Clean(gate));
        output = SequenceMasks.WithoutPads(output, layout).to(x.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }
}
