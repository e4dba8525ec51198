using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>What a layout means to the references, in libtorch operators.</summary>
static class SequenceMasks
{
    /// <summary>The tensor (batch, length, ...) with zeros at pads, so that what stands there, even NaN, reaches neither a result nor a gradient.</summary>
    public static Tensor WithoutPads(Tensor tensor, SequenceLayout? layout)
    {
        if (layout?.Valid is not { } valid) return tensor;
        var pads = valid.logical_not();
        while (pads.dim() < tensor.dim()) pads = pads.unsqueeze(-1);
        return tensor.masked_fill(pads, Scalars.Zero);
    }

    /// <summary>The state (batch, ...) before the token of a column: zero where a document starts there.</summary>
    public static Tensor BeforeToken(Tensor state, SequenceLayout? layout, int column)
    {
        if (layout?.Starts is not { } starts) return state;
        var start = starts.select(1, column);
        while (start.dim() < state.dim()) start = start.unsqueeze(-1);
        return state.masked_fill(start, Scalars.Zero);
    }

    /// <summary>Step sizes from raw ones (batch, length, ...): bias added, softplus, limits; 0 at pads, where a state then stays as it is.</summary>
    public static Tensor TimeStep(Tensor raw, Tensor? bias, bool softplus, (double Minimum, double Maximum)? limit, SequenceLayout? layout)
    {
        var step = WithoutPads(raw, layout);
        if (bias is not null) step = step.add(bias, Scalars.One);
        if (softplus) step = step.logaddexp(zeros_like(step));         // log(e^x + e^0); TorchSharp's own softplus takes temporary scalars
        if (limit is { } range) step = step.clamp(Scalars.From(range.Minimum), Scalars.From(range.Maximum));
        return WithoutPads(step, layout);
    }

    /// <summary>(batch, length, groups, ...) repeated to (batch, length, count, ...): neighbours share a group.</summary>
    public static Tensor Spread(Tensor grouped, long count) => grouped.size(2) == count ? grouped : grouped.repeat_interleave(count / grouped.size(2), 2);
}
