using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the selective scan token by token, with libtorch's gradients. The arguments are those of <see cref="Operators.SelectiveScan.Forward"/>;
/// B and C have the dimension of groups.
/// </summary>
static class SelectiveScanReference
{
    public static (Tensor Output, Tensor FinalState) Forward(SelectiveScanInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (type, layout) = (SequenceChecks.StateType(inputs.X), inputs.Layout);
        long channels = inputs.Channels, shared = inputs.Groups == 1 ? 1 : channels;
        Tensor Clean(Tensor tensor) => SequenceMasks.WithoutPads(tensor.to(type), layout);
        var x = Clean(inputs.X);
        var dt = SequenceMasks.TimeStep(inputs.Dt.to(type), inputs.DtBias?.to(type), inputs.Softplus, null, layout);
        var A = inputs.A.to(type);

        var (xs, dts) = (x.unbind(1), dt.unbind(1));                                                   // each (batch, channels)
        var Bs = SequenceMasks.Spread(Clean(inputs.B), shared).unbind(1);                              // each (batch, 1 or channels, states)
        var Cs = SequenceMasks.Spread(Clean(inputs.C), shared).unbind(1);
        var state = inputs.InitialState ?? zeros([inputs.Batch, channels, inputs.StateSize], type, x.device);
        var outputs = new Tensor[xs.Length];
        for (int t = 0; t < xs.Length; t++)
        {
            state = SequenceMasks.BeforeToken(state, layout, t);
            state = ((dts[t].unsqueeze(-1) * A).exp() * state).add((dts[t] * xs[t]).unsqueeze(-1) * Bs[t], Scalars.One);
            outputs[t] = (state * Cs[t]).sum(-1);
        }
        var output = stack(outputs, 1);
        if (inputs.D is { } D) output = output.add(x * D.to(type), Scalars.One);
        if (inputs.Z is { } z) output = output * nn.functional.silu(Clean(z));
        output = SequenceMasks.WithoutPads(output, layout).to(inputs.X.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }
}
