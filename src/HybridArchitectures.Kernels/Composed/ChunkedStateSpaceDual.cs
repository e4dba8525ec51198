using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes the state-space dual in chunks (arXiv 2405.21060, section 6) with libtorch's batched products and gradients, for any device and dtype.
/// Per chunk of Q tokens and head, it stores two Q x Q matrices in the dtype of the state. The arguments are those of
/// <see cref="Operators.StateSpaceDual.Forward"/>.
/// </summary>
static class ChunkedStateSpaceDual
{
    public static (Tensor Output, Tensor FinalState) Forward(StateSpaceDualInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (type, layout, device) = (SequenceChecks.StateType(inputs.X), inputs.Layout, inputs.X.device);
        long batch = inputs.Batch, length = inputs.Length, heads = inputs.Heads;
        long size = Math.Min(inputs.ChunkSize, length), chunks = (length + size - 1) / size, missing = chunks * size - length;
        // (B, L, ...) to (B, chunks, Q, ...), with zeros at padding and past the end, where a time step of 0 preserves the state
        Tensor Chunked(Tensor tensor) => SequenceMasks.Chunked(tensor.to(type), layout, chunks, size);
        var x = Chunked(inputs.X);                                                                            // (B, C, Q, H, P)
        var dt = Chunked(SequenceMasks.TimeStep(inputs.Dt.to(type), inputs.DtBias?.to(type), inputs.Softplus, inputs.DtLimit, layout));
        var (B, C) = (SpreadGroups(Chunked(inputs.B), heads), SpreadGroups(Chunked(inputs.C), heads));       // (B, C, Q, H, N)
        var logarithms = (dt * inputs.A.to(type)).permute(0, 1, 3, 2);                                       // (B, C, H, Q), at most 0
        var added = x * dt.unsqueeze(-1);

        var document = Documents(layout, missing, chunks, size);                                             // (B, C, Q)
        var decays = Decays(logarithms, document);                                                           // (B, C, H, Q, Q)

        var scores = einsum("bcihn,bcjhn->bchij", C, B) * decays;
        var output = einsum("bchij,bcjhp->bcihp", scores, added);

        // what a chunk adds to the state, and the remainder of the previous state
        var toEnd = decays.select(3, size - 1).permute(0, 1, 3, 2);                                          // (B, C, Q, H)
        var contributions = einsum("bcjhp,bcjhn->bchpn", added * toEnd.unsqueeze(-1), B).unbind(1);
        var fromStart = logarithms.cumsum(-1);                                                               // (B, C, H, Q)
        if (document is not null)
        {
            var before = cat([zeros([batch, 1], ScalarType.Int64, device), document.select(2, size - 1).narrow(1, 0, chunks - 1)], 1);
            fromStart = fromStart.masked_fill(document.ne(before.unsqueeze(-1)).unsqueeze(2), Scalars.MinusInfinity);
        }
        fromStart = fromStart.exp();
        var kept = fromStart.select(3, size - 1).unsqueeze(-1).unsqueeze(-1).unbind(1);                      // each (B, H, 1, 1)
        var state = inputs.InitialState ?? zeros([batch, heads, inputs.HeadSize, inputs.StateSize], type, device);
        (var entering, state) = Recur(state, kept, contributions);
        output = output.add(einsum("bcihn,bchpn->bcihp", C, stack(entering, 1)) * fromStart.permute(0, 1, 3, 2).unsqueeze(-1), Scalars.One);

        if (inputs.D is { } D) output = output.add(x * D.to(type).unsqueeze(-1), Scalars.One);
        output = SequenceMasks.WithoutPads(output.flatten(1, 2).narrow(1, 0, length), layout).to(inputs.X.dtype);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope());
    }

    // the decays between the tokens of a chunk, shape (B, C, H, Q, Q), 1 on the diagonal
    static Tensor Decays(Tensor logarithms, Tensor? document)
    {
        long size = logarithms.size(-1);
        // between[i, j]: the logarithm of the remainder of token j at token i, a separate sum for each pair, without cancellation
        var order = Indices.Range(0, size, logarithms.device);
        var later = order.unsqueeze(1).gt(order.unsqueeze(0));                                               // (Q, Q): i > j
        var between = logarithms.unsqueeze(-1).expand([.. logarithms.shape, size]).masked_fill(later.logical_not(), Scalars.Zero).cumsum(-2);
        // (Q, Q), or (B, C, 1, Q, Q) with documents
        var hidden = order.unsqueeze(1).lt(order.unsqueeze(0));
        if (document is not null) hidden = hidden.logical_or(document.unsqueeze(-1).ne(document.unsqueeze(-2))).unsqueeze(2);
        return between.masked_fill(hidden, Scalars.MinusInfinity).exp();
    }

    // returns the states before each chunk, and the last state
    static (Tensor[] Entering, Tensor Last) Recur(Tensor state, Tensor[] kept, Tensor[] contributions)
    {
        var entering = new Tensor[kept.Length];
        for (int chunk = 0; chunk < kept.Length; chunk++)
        {
            entering[chunk] = state;
            state = (state * kept[chunk]).add(contributions[chunk], Scalars.One);
        }
        return (entering, state);
    }

    // (B, C, Q, G, N) to (B, C, Q, H, N): neighbouring heads share a group
    static Tensor SpreadGroups(Tensor grouped, long heads) =>
        grouped.size(3) == heads ? grouped : grouped.repeat_interleave(heads / grouped.size(3), 3);

    // the number of the document of each token, (B, C, Q), int64; null for one document per row
    static Tensor? Documents(SequenceLayout? layout, long missing, long chunks, long size)
    {
        if (layout?.Starts is not { } starts) return null;
        var documents = starts.to(ScalarType.Int64).cumsum(1);
        if (missing > 0) documents = cat([documents, documents.narrow(1, documents.size(1) - 1, 1).expand(documents.size(0), missing)], 1);
        return documents.unflatten(1, chunks, size);
    }
}
