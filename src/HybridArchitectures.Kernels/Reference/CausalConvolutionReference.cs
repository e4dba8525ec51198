using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the causal convolution as a sum over its filter, with libtorch's gradients. The arguments are those of
/// <see cref="Operators.CausalConvolution.Forward"/>.
/// </summary>
static class CausalConvolutionReference
{
    public static (Tensor Output, Tensor FinalState) Forward(CausalConvolutionInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (x, weight, bias, layout) = (inputs.X, inputs.Weight, inputs.Bias, inputs.Layout);
        var type = SequenceChecks.StateType(x);
        long batch = x.size(0), length = x.size(1), channels = x.size(2), width = weight.size(1), history = width - 1;
        var clean = SequenceMasks.WithoutPads(x, layout);
        var past = inputs.InitialState ?? zeros([batch, history, channels], x.dtype, x.device);
        var joined = history == 0 ? clean : cat([past, clean], 1);                                    // (B, W-1 + L, C): token t is at t + W-1
        var document = layout?.Starts is { } starts // the document of each token; the past belongs to the first one
            ? cat([zeros([batch, history], ScalarType.Int64, x.device), starts.to(ScalarType.Int64).cumsum(1)], 1) : null;

        var output = zeros([batch, length, channels], type, x.device);
        for (long tap = 0; tap < width; tap++)
        {
            var input = joined.narrow(1, tap, length).to(type);
            if (document is not null)
                input = input.masked_fill(document.narrow(1, tap, length).ne(document.narrow(1, history, length)).unsqueeze(-1), Scalars.Zero);
            output = output.add(input * weight.select(1, tap).to(type), Scalars.One);
        }
        if (bias is not null) output = output.add(bias.to(type), Scalars.One);
        if (inputs.Silu) output = nn.functional.silu(output);
        output = SequenceMasks.WithoutPads(output, layout).to(x.dtype);

        // the last W-1 inputs of the last document of each row
        var lengths = layout?.Lengths ?? Indices.From(Enumerable.Repeat(length, (int)batch), x.device);
        var positions = lengths.unsqueeze(1).add(Indices.Range(0, history, x.device), Scalars.One);                // (B, W-1), in `joined`
        var final = joined.gather(1, positions.unsqueeze(-1).expand(batch, history, channels));
        if (document is not null && history > 0)
        {
            var last = document.gather(1, lengths.add(Scalars.From(history - 1), Scalars.One).unsqueeze(1));
            final = final.masked_fill(document.gather(1, positions).ne(last).unsqueeze(-1), Scalars.Zero);
        }
        return (output.MoveToOuterDisposeScope(), final.MoveToOuterDisposeScope());
    }
}
