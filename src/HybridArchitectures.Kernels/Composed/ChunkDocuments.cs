using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>Contains what the tokens of chunks do not see, for N = chunks x batch x heads rows of Q tokens.</summary>
/// <param name="Hidden">
/// Whether an earlier token (second dimension) is invisible to a later one (first dimension), shape (1 or N, Q, Q), bool.
/// </param>
/// <param name="Fresh">
/// Whether a token does not see the state before its chunk, because a document starts in between, shape (N, Q), bool. Null means that all see it.
/// </param>
readonly record struct ChunkDocuments(Tensor Hidden, Tensor? Fresh)
{
    /// <summary>Returns the masks for a layout. Null means full rows of one document.</summary>
    public static ChunkDocuments From(SequenceLayout? layout, long chunks, long size, long heads, Device device)
    {
        var order = Indices.Range(0, size, device);
        var future = order.unsqueeze(1).lt(order.unsqueeze(0)).unsqueeze(0);
        if (layout?.Starts is not { } starts) return new(future, null);
        var document = starts.to(ScalarType.Int64).cumsum(1);
        long batch = document.size(0), length = document.size(1), missing = chunks * size - length;
        if (missing > 0) document = cat([document, document.narrow(1, length - 1, 1).expand(batch, missing)], 1);
        document = document.unflatten(1, chunks, size);                                                      // (B, C, Q)
        var before = cat([zeros([batch, 1], ScalarType.Int64, device), document.select(2, size - 1).narrow(1, 0, chunks - 1)], 1);
        Tensor PerHead(Tensor mask) => mask.transpose(0, 1).unsqueeze(2).expand([chunks, batch, heads, .. mask.shape[2..]]).flatten(0, 2);
        return new(future.logical_or(PerHead(document.unsqueeze(-1).ne(document.unsqueeze(-2)))), PerHead(document.ne(before.unsqueeze(-1))));
    }

    /// <summary>
    /// Returns the part that remains at token i of what token j wrote, for decays per channel: (N, i, j, channels). It is 0 for pairs that do not see
    /// each other.
    /// </summary>
    /// <param name="decays">The logarithms of the decays, (N, Q, channels).</param>
    public Tensor Remaining(Tensor decays)
    {
        long size = decays.size(1);
        var order = Indices.Range(0, size, decays.device);
        var notEarlier = order.unsqueeze(1).le(order.unsqueeze(0)).unsqueeze(-1);                            // (Q, Q, 1): i <= j
        // a separate sum for each pair, without cancellation
        var later = decays.unsqueeze(2).expand(decays.size(0), size, size, decays.size(2)).masked_fill(notEarlier, Scalars.Zero);
        return later.cumsum(1).masked_fill(Hidden.unsqueeze(-1), Scalars.MinusInfinity).exp();
    }

    /// <summary>Returns the part that remains of the state before a chunk.</summary>
    /// <param name="sums">The sums of the logarithms of the decays since the start of the chunk, (N, Q, channels).</param>
    public Tensor FromStart(Tensor sums) => (Fresh is null ? sums : sums.masked_fill(Fresh.unsqueeze(-1), Scalars.MinusInfinity)).exp();
}
