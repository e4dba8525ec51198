using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>Applies a layout with libtorch operators, for the references.</summary>
static class SequenceMasks
{
    /// <summary>
    /// Returns the tensor (batch, length, ...) with zeros at padding, so that values there, even NaN, affect neither results nor gradients.
    /// </summary>
    public static Tensor WithoutPads(Tensor tensor, SequenceLayout? layout)
    {
        if (layout?.Valid is not { } valid) return tensor;
        var pads = valid.logical_not();
        while (pads.dim() < tensor.dim()) pads = pads.unsqueeze(-1);
        return tensor.masked_fill(pads, Scalars.Zero);
    }

    /// <summary>
    /// Returns the tensor (batch, length, ...) in chunks of <paramref name="size"/> tokens, shape (batch, chunks, size, ...), with zeros at padding
    /// and past the end.
    /// </summary>
    public static Tensor Chunked(Tensor tensor, SequenceLayout? layout, long chunks, long size)
    {
        var clean = WithoutPads(tensor, layout);
        long missing = chunks * size - clean.size(1);
        if (missing > 0) clean = cat([clean, zeros([clean.size(0), missing, .. clean.shape[2..]], clean.dtype, clean.device)], 1);
        return clean.unflatten(1, chunks, size);
    }

    /// <summary>Returns the state (batch, ...) before the token of a column: zero if a document starts there.</summary>
    public static Tensor BeforeToken(Tensor state, SequenceLayout? layout, int column)
    {
        if (layout?.Starts is not { } starts) return state;
        var start = starts.select(1, column);
        while (start.dim() < state.dim()) start = start.unsqueeze(-1);
        return state.masked_fill(start, Scalars.Zero);
    }

    /// <summary>
    /// Computes time steps from raw ones, shape (batch, length, ...): bias, softplus, limits. They are 0 at padding, where a state then does not
    /// change.
    /// </summary>
    public static Tensor TimeStep(Tensor raw, Tensor? bias, bool softplus, (double Minimum, double Maximum)? limit, SequenceLayout? layout)
    {
        var step = WithoutPads(raw, layout);
        if (bias is not null) step = step.add(bias, Scalars.One);
        if (softplus) step = step.logaddexp(zeros_like(step));         // log(e^x + e^0); TorchSharp's softplus uses temporary scalars
        if (limit is { } range) step = step.clamp(Scalars.From(range.Minimum), Scalars.From(range.Maximum));
        return WithoutPads(step, layout);
    }

    /// <summary>Repeats (batch, length, groups, ...) to (batch, length, count, ...). Neighbours share a group.</summary>
    public static Tensor Spread(Tensor grouped, long count) =>
        grouped.size(2) == count ? grouped : grouped.repeat_interleave(count / grouped.size(2), 2);
}
