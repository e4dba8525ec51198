using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes linear attention with a decay per key channel in chunks, with libtorch's batched products and gradients, for any device and dtype. A
/// decay per channel cannot be taken out of a product of keys without a quotient that overflows, so the decayed keys of all pairs of a chunk are a
/// table.
/// The arguments are those of <see cref="Operators.LinearAttention.Forward"/>.
/// </summary>
static class ChunkedLinearAttention
{
    public static (Tensor Output, Tensor FinalState) Forward(LinearAttentionInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (value, layout) = (inputs.Value, inputs.Layout);
        var type = SequenceChecks.StateType(value);
        long batch = inputs.Batch, length = inputs.Length, heads = inputs.Heads, rows = batch * heads;
        long size = Math.Min(inputs.ChunkSize, length), chunks = (length + size - 1) / size;
        // (B, L, H, ...) to (C B H, Q, ...), with zeros at padding and past the end, where nothing is forgotten or written
        Tensor Chunked(Tensor tensor) =>
            SequenceMasks.Chunked(tensor.to(type), layout, chunks, size).transpose(2, 3).transpose(0, 1).flatten(0, 2);
        var (hidden, fresh) = ChunkDocuments.From(layout, chunks, size, heads, value.device);
        var (queries, keys, values, decays) = (Chunked(inputs.Query), Chunked(inputs.Key), Chunked(value), Chunked(inputs.Decay));
        var seen = SeenKeys(keys, decays, hidden);                                                           // (N, Q, Q, K)
        var scores = bmm(seen.flatten(0, 1), queries.flatten(0, 1).unsqueeze(-1)).view(-1, size, size);      // (N, Q, Q)
        var sums = decays.cumsum(1);
        var fromStart = (fresh is null ? sums : sums.masked_fill(fresh.unsqueeze(-1), Scalars.MinusInfinity)).exp();
        Tensor[] PerChunk(Tensor tensor) => tensor.unflatten(0, chunks, rows).unbind(0);
        var (inside, reading) = (PerChunk(bmm(scores, values)), PerChunk(queries * fromStart));
        var written = PerChunk(bmm(seen.select(1, size - 1).transpose(1, 2), values));
        var kept = PerChunk(fromStart.select(1, size - 1).unsqueeze(-1));
        var state = inputs.InitialState?.to(type).flatten(0, 1) ?? zeros([rows, inputs.KeySize, inputs.ValueSize], type, value.device);
        var outputs = new Tensor[chunks];
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            outputs[chunk] = inside[chunk].add(bmm(reading[chunk], state), Scalars.One);
            state = (state * kept[chunk]).add(written[chunk], Scalars.One);
        }
        var output = stack(outputs, 0).unflatten(1, batch, heads).permute(1, 0, 3, 2, 4).flatten(1, 2).narrow(1, 0, length);      // (B, L, H, V)
        output = SequenceMasks.WithoutPads(output, layout).to(value.dtype).contiguous();
        return (output.MoveToOuterDisposeScope(), state.unflatten(0, batch, heads).MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Returns the key of token j as token i of its chunk sees it, (N, i, j, K): decayed between them, and 0 for pairs that do not see each other.
    /// </summary>
    static Tensor SeenKeys(Tensor keys, Tensor decays, Tensor hidden)
    {
        long size = keys.size(1);
        var order = Indices.Range(0, size, keys.device);
        var notEarlier = order.unsqueeze(1).le(order.unsqueeze(0));                                          // (Q, Q): i <= j
        // a separate sum for each pair, without cancellation
        var later = decays.unsqueeze(2).expand(keys.size(0), size, size, keys.size(2)).masked_fill(notEarlier.unsqueeze(-1), Scalars.Zero);
        var between = later.cumsum(1);
        return keys.unsqueeze(1) * between.masked_fill(hidden.unsqueeze(-1), Scalars.MinusInfinity).exp();
    }
}
